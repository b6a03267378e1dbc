"""Scenes to batches: augmentation, voxels, collation, loading."""

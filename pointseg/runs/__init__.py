"""A run on disk: its folder, its checkpoints, and what was measured on the way."""

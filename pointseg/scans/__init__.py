"""A scene and its files: raw ScanNet, the prepared tree, PLY, and the synthetic rooms."""

"""A scene and its files: scan files of any format, units and axes, normals, and the prepared tree."""

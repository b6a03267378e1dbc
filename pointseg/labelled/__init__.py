"""Labelled scans of one's own, in any format, and those of other data sets, to a prepared tree of own classes.

``label_source``: where the labels of a file are. ``content``: points with class ids to a scene of the tree.
``scan_job`` and ``dataset_job``: one scene of either kind. ``scan_folder``, ``split_lists`` and ``datasets``: which
scenes there are, and in which split. ``import_tree`` puts these together, ``import_report`` says what came of it.
"""

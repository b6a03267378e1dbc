"""The ScanNet release: raw scans, official labels, their preparation, split lists, and the check of a prepared tree."""

"""Descriptions of a source before it is used: layout, splits, classes, sizes, what is skipped."""

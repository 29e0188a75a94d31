"""A source described before it is used: layout, splits, classes, sizes, and what is left out and
why.
"""

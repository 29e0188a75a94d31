"""Labelled datasets as people hold them: image folders, tables, Parquet and WebDataset files.

:mod:`~robustbench_aigi.data.sources.recognise` finds out which of them a source is.
"""

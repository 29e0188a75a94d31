"""Numbers with units and ranges, messages for configuration that does not fit, settings of the
process.
"""

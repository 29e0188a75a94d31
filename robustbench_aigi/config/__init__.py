"""Numbers with units and ranges, messages on faulty files, and settings of the process."""

"""Images worth looking at, and where the detector looks."""

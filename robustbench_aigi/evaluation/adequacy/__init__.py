"""Adequacy: reasons to distrust a number, found by flags, probes and a look before the run."""

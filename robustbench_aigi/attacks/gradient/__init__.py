"""Attacks that follow the detector's gradient."""

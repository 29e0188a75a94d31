"""Addresses of detectors, their arguments, and TOML files that list them."""

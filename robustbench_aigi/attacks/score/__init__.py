"""Attacks that ask for scores alone."""

"""Attacks that ask for verdicts alone."""

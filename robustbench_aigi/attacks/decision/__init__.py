"""Attacks that ask for verdicts only."""

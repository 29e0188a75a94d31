"""Detectors as they are typed: addresses with arguments, and lists of them."""

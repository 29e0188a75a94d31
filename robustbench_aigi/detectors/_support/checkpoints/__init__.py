"""Weights on disk: reading, checking, fitting, loading and saving checkpoints."""

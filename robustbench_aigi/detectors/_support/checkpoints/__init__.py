"""Weights on disk: safetensors of this package, and files of others."""

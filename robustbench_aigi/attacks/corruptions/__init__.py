"""Perturbations that ask no model: codecs, scaling, noise, cameras, generators."""

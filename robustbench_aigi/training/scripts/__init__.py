"""Trainings of the networks that ship beside the detectors: the tiny CLIP, the diffusion model, the
autoencoder.
"""

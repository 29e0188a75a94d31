"""Train the networks that ship beside the detectors: tiny CLIP, diffusion model, autoencoder."""

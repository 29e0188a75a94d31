"""What detectors share: backbones, resizing, checkpoints, addresses, fingerprints."""

"""Image classifiers of the transformers library: ``hf:REPO``."""

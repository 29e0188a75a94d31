"""The perturbed (``++``) set: what it is made of, building it, reading it, checking it."""

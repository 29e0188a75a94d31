"""Detectors behind an HTTP endpoint: ``https://HOST/PATH`` and ``endpoint:NAME``."""

"""Attacks of other libraries: ``torchattacks:NAME`` and ``art:NAME``."""

"""What would let a classifier tell the classes apart, or pass the test, without looking at what is
in the images.
"""

from robustbench_aigi.data.audit.findings import Finding
from robustbench_aigi.data.audit.judge import Audit, audit

__all__ = ["Audit", "Finding", "audit"]

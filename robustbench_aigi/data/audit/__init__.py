"""The audit of a dataset: what lets a classifier succeed without looking at the pictures."""

from robustbench_aigi.data.audit.judge import audit
from robustbench_aigi.data.audit.result import Audit, Finding
from robustbench_aigi.data.audit.write import write_audit

__all__ = ["Audit", "Finding", "audit", "write_audit"]

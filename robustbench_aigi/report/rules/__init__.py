"""Kinds of policy rules, one file each: adding a file registers its kind.

Other packages add theirs through the entry point group ``robustbench_aigi.report.rules``, or are
named in a policy as ``kind = "module:Class"``.
"""

from robustbench_aigi.report.rules.base import (
    JudgedRun,
    Judgement,
    PolicyRule,
    Verdict,
    policy_rules,
)

__all__ = ["JudgedRun", "Judgement", "PolicyRule", "Verdict", "policy_rules"]

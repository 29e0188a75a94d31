"""The judgements of a gate as JUnit XML, which CI systems show."""

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType

from robustbench_aigi.report.rules import Judgement

CASE_TAGS: Mapping[str, str] = MappingProxyType({"fail": "failure", "undecided": "error"})
"""Verdict to the element that says so in a test case; one that passes has none."""


def to_junit(policy: str, judgements: Sequence[Judgement]) -> str:
    """Return JUnit XML, as Ant writes it, with one test case per rule and detector.

    Args:
        policy: its name.
        judgements: of all its rules; one that is undecided is an error.
    """
    verdicts = [judgement.verdict for judgement in judgements]
    root = ET.Element("testsuites")
    suite = ET.SubElement(
        root,
        "testsuite",
        {
            "name": policy,
            "package": "robustbench-aigi",
            "id": "0",
            "hostname": "localhost",
            "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
            "tests": str(len(judgements)),
            "failures": str(verdicts.count("fail")),
            "errors": str(verdicts.count("undecided")),
            "time": "0",
        },
    )
    ET.SubElement(suite, "properties")
    for judgement in judgements:
        _add_case(suite, policy, judgement)
    lines = [f"{j.verdict}: {j.detector}: {j.rule}: {j.evidence}" for j in judgements]
    ET.SubElement(suite, "system-out").text = "\n".join(lines)
    ET.SubElement(suite, "system-err")
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _add_case(suite: ET.Element, policy: str, judgement: Judgement) -> None:
    named = {"classname": f"{policy}.{judgement.detector}", "name": judgement.rule, "time": "0"}
    case = ET.SubElement(suite, "testcase", named)
    tag = CASE_TAGS.get(judgement.verdict)
    if tag is not None:
        ET.SubElement(case, tag, {"message": judgement.evidence, "type": judgement.verdict})

"""The matrix in the forms that other programs read; each is text."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import yaml
from huggingface_hub import EvalResult
from huggingface_hub.repocard_data import eval_results_to_model_index

from robustbench_aigi.errors import UnknownNameError
from robustbench_aigi.registry import unknown
from robustbench_aigi.report.gate import Judgement
from robustbench_aigi.report.run_results import RunResults
from robustbench_aigi.report.schema import MatrixFile
from robustbench_aigi.report.tables import columns_of


def in_form(name: str, finished: RunResults) -> str:
    """A matrix in a named form. Raises ``UnknownNameError``."""
    if name not in FORMS:
        raise UnknownNameError(unknown("report format", name, sorted(FORMS)))
    return FORMS[name](finished)


def to_wide(finished: RunResults) -> str:
    """Return accuracies as CSV: one row per detector, one column per mode, attack and direction."""
    matrix = finished.matrix
    there = matrix[matrix["accuracy"].notna()]
    columns = there["mode"] + "/" + there["attack"] + "/" + there["direction"]
    wide = there.assign(column=columns).pivot(index="detector", columns="column", values="accuracy")
    wide = wide.reindex(
        index=list(dict.fromkeys(matrix["detector"])), columns=list(dict.fromkeys(columns))
    )
    return wide.to_csv(float_format="%.6f", lineterminator="\n")


def json_schema(finished: RunResults) -> str:
    """JSON Schema of ``matrix.json``."""
    return json.dumps(MatrixFile.model_json_schema(by_alias=True), indent=1) + "\n"


def to_latex(finished: RunResults) -> str:
    """A booktabs table of accuracies in percent, both directions together; packages: booktabs."""
    matrix, pairs = finished.matrix, columns_of(finished.matrix)
    part = matrix[matrix["direction"].isin(["both"]) | matrix["direction"].isna()]
    rows = {}
    for detector in dict.fromkeys(matrix["detector"]):
        own = (
            part[part["detector"] == detector]
            .drop_duplicates(["mode", "attack"])
            .set_index(["mode", "attack"])
        )
        numbers = own["accuracy"]
        rows[detector] = [numbers.get(pair, float("nan")) for pair in pairs]
    heads = [attack if mode == "clean" else f"{attack}, {mode}" for mode, attack in pairs]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=heads)
    style = (100 * table).style.format(precision=1, na_rep="--")
    style = style.format_index(escape="latex", axis=0).format_index(escape="latex", axis=1)
    return str(style.to_latex(hrules=True, column_format="l" + "r" * len(pairs)))


def to_junit(policy: str, judgements: Sequence[Judgement]) -> str:
    """JUnit XML, as Ant writes it: a test case a rule and detector; what could not be judged is an
    error.
    """
    failed, undecided = (
        sum(j.verdict == word for j in judgements) for word in ("fail", "undecided")
    )
    counts = {"tests": str(len(judgements)), "failures": str(failed), "errors": str(undecided)}
    when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    about = {
        "name": policy,
        "package": "robustbench-aigi",
        "id": "0",
        "hostname": "localhost",
        "timestamp": when,
    }
    root = ET.Element("testsuites")
    suite = ET.SubElement(root, "testsuite", about | counts | {"time": "0"})
    ET.SubElement(suite, "properties")
    for judgement in judgements:
        named = {"classname": f"{policy}.{judgement.detector}", "name": judgement.rule, "time": "0"}
        case = ET.SubElement(suite, "testcase", named)
        kind = {"fail": "failure", "undecided": "error"}.get(judgement.verdict)
        if kind:
            ET.SubElement(case, kind, {"message": judgement.evidence, "type": judgement.verdict})
    lines = [f"{j.verdict}: {j.detector}: {j.rule}: {j.evidence}" for j in judgements]
    ET.SubElement(suite, "system-out").text = "\n".join(lines)
    ET.SubElement(suite, "system-err")
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def to_sarif(finished: RunResults) -> str:
    """SARIF 2.1.0: a result for each adequacy flag, and for each row that is not ``ok``."""
    matrix, flags = finished.matrix, finished.flags or []
    results = [
        _result(
            flag.kind,
            "warning",
            f"{flag.detector}{f', {flag.attack}' if flag.attack else ''}: {flag.message}",
        )
        for flag in flags
    ]
    for row in (
        matrix[matrix["status"] != "ok"]
        .drop_duplicates(["detector", "mode", "attack"])
        .to_dict("records")
    ):
        named = ", ".join(
            str(row[key]) for key in ("detector", "mode", "attack") if pd.notna(row[key])
        )
        kind = str(row["status"]).partition(":")[0]
        results.append(
            _result(kind, "error" if kind == "error" else "note", f"{named}: {row['status']}")
        )
    rules = [{"id": kind} for kind in dict.fromkeys(str(result["ruleId"]) for result in results)]
    version = finished.facts.get("versions", {}).get("robustbench-aigi", "")
    driver = {"name": "robustbench-aigi", "rules": rules} | (
        {"version": version} if version else {}
    )
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
    return json.dumps(log, indent=1) + "\n"


def _result(rule: str, level: str, text: str) -> dict[str, object]:
    place = {"physicalLocation": {"artifactLocation": {"uri": "matrix.csv"}}}
    return {"ruleId": rule, "level": level, "message": {"text": text}, "locations": [place]}


def to_model_index(finished: RunResults) -> str:
    """YAML for the head of a Hugging Face model card: a ``model-index`` block, an entry a
    detector.
    """
    matrix, facts = finished.matrix, finished.facts
    data, suite = (
        facts.get("data", {}).get("name", "unknown"),
        facts.get("suite", {}).get("name", "unknown"),
    )
    index: list[Any] = []
    for detector in dict.fromkeys(matrix["detector"]):
        own = matrix[
            (matrix["detector"] == detector)
            & (matrix["direction"] == "both")
            & matrix["accuracy"].notna()
        ]
        found = [
            EvalResult(
                task_type="image-classification",
                dataset_type=data,
                dataset_name=data,
                metric_type="accuracy",
                metric_name=f"accuracy, {row['attack']}"
                + ("" if row["mode"] == "clean" else f", {row['mode']}"),
                metric_value=round(float(row["accuracy"]), 6),
                dataset_config=suite,
            )
            for row in own.to_dict("records")
        ]
        if found:
            index += eval_results_to_model_index(str(detector), found)
    return str(yaml.safe_dump({"model-index": index}, sort_keys=False))


def to_robustbench(finished: RunResults) -> str:
    """JSON with RobustBench's fields, an entry a detector: clean accuracy, and the worst of the
    attacks on itself.
    """
    matrix, facts = finished.matrix, finished.facts
    cards, suite = facts.get("detectors", {}), facts.get("suite", {}).get("name", "unknown")
    entries = {}
    for detector in dict.fromkeys(matrix["detector"]):
        own = matrix[(matrix["detector"] == detector) & (matrix["direction"] == "both")].set_index(
            ["mode", "attack"]
        )
        card = cards.get(detector, {})
        shares = {name: own["accuracy"].get(key) for name, key in _WORST.items()}
        entries[str(detector)] = {
            "name": card.get("name", detector),
            "link": card.get("source", ""),
            "dataset": facts.get("data", {}).get("name", "unknown"),
            "threat_model": f"worst case of the suite {suite}",
            "additional_data": card.get("trained_on", ""),
            **{
                name: None if value is None or pd.isna(value) else f"{100 * value:.2f}"
                for name, value in shares.items()
            },
        }
    return json.dumps(entries, indent=1) + "\n"


_WORST = {
    "clean_acc": ("clean", "clean"),
    "reported": ("static", "worst-case"),
    "robust_acc": ("white-box", "worst-case"),
}
Form = Callable[[RunResults], str]
FORMS: Mapping[str, Form] = {
    "latex": to_latex,
    "wide": to_wide,
    "schema": json_schema,
    "sarif": to_sarif,
    "model-index": to_model_index,
    "robustbench": to_robustbench,
}
"""Names of the forms that ``report --form`` prints; CSV, JSON, Markdown and HTML are written beside
the run.
"""

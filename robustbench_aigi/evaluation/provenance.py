"""What a run was made of and with: all that it takes to repeat it."""

import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import torch

from robustbench_aigi.attacks import Suite
from robustbench_aigi.data import Dataset
from robustbench_aigi.data.conversion import CONVERSION_VERSION
from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.fingerprint import Identities
from robustbench_aigi.io.files import write_text
from robustbench_aigi.outcomes import Unavailable

RECORDED_PACKAGES = (
    "robustbench-aigi",
    "torch",
    "timm",
    "open-clip-torch",
    "numpy",
    "pillow",
    "scipy",
)


def write_provenance(
    out: Path,
    detectors: Mapping[str, Detector | Unavailable],
    surrogates: Mapping[str, Detector],
    suite: Suite,
    data: Dataset,
    identities: Identities,
) -> None:
    """Write ``run.json``: cards, fingerprints, suite, hash of the images, versions, machine,
    command.

    ``not_reused`` has what could not be fingerprinted, by detector: what was computed with it is
        never reused.
    """
    every = dict(surrogates) | {name: d for name, d in detectors.items() if isinstance(d, Detector)}
    prints = {name: identities.fingerprint(detector) for name, detector in every.items()}
    converted = (
        {"converted": data.conversions, "convert_rules": CONVERSION_VERSION}
        if data.conversions
        else {}
    )
    facts = {
        "suite": suite.model_dump(by_alias=True),
        "data": {"name": data.name, "images": len(data), "key": data.key} | converted,
        "detectors": {
            n: d.card.model_dump() if isinstance(d, Detector) else {"unavailable": d.reason}
            for n, d in detectors.items()
        },
        "surrogates": {n: d.card.model_dump() for n, d in surrogates.items()},
        "fingerprints": {name: found.digest for name, found in prints.items()},
        "not_reused": {name: found.unknown for name, found in prints.items() if found.unknown},
        "versions": (
            {name: version(name) for name in RECORDED_PACKAGES}
            | {"python": platform.python_version()}
        ),
        "machine": {
            "processor": platform.machine(),
            "system": platform.system(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }
    write_text(out / "run.json", json.dumps(facts, indent=2, default=str))

"""What the numbers of a service suggest about how they are read."""

from collections.abc import Collection, Sequence

from robustbench_aigi.detectors.external.http.answer import SCALE_RANGES
from robustbench_aigi.detectors.external.http.spec import EndpointSpec


def scale_notes(
    name: str, spec: EndpointSpec, path: str, values: Sequence[float], labels: Collection[str]
) -> list[str]:
    """Return what suggests that numbers mean something else than the description says.

    Args:
        name: of the detector.
        spec: its description.
        path: of the number in an answer.
        values: numbers of the answers so far, on the scale of the description.
        labels: words beside the numbers.
    """
    found = []
    if spec.scale == "percent" and max(values) <= 1:
        found.append(
            f"all {len(values)} answers of {name} lie from 0 to 1, read as percent: if they are"
            " probabilities, write scale='probability'."
        )
    half = SCALE_RANGES[spec.scale][1] / 2
    if spec.scale != "logit" and len(labels) > 1 and min(values) >= half:
        found.append(
            f"no answer of {name} is below one half, with the labels {', '.join(sorted(labels))}"
            f" beside it: {path} seems to be how sure the service is of its label, whichever it"
            " is. Write the label's path as score, a table verdicts={'LABEL': 1, ...}, and"
            f" confidence='{path}'."
        )
    return found

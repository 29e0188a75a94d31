from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor

from robustbench_aigi.attacks import load_suite
from robustbench_aigi.data import Dataset
from robustbench_aigi.detectors import Detector
from robustbench_aigi.errors import ConfigError
from robustbench_aigi.evaluation import evaluate as evaluate_cells
from robustbench_aigi.outcomes import Unavailable
from robustbench_aigi.pipeline.evaluate import evaluate
from robustbench_aigi.report import Matrix, read_matrix
from tests.test_adequacy import JPEG, PGD8, SQUARE8, Made, bright, brightness, honest, suite

SUITE = suite(PGD8, SQUARE8, JPEG)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return bright(tmp_path_factory.mktemp("images"), count=12)


def run(detector: Detector, data: Dataset, out: Path, maker: Detector | None = None) -> Matrix:
    """An evaluation of a detector beside an honest one."""
    fine = honest()
    surrogates = {"honest": maker or honest()}
    matrix = evaluate([detector, fine], SUITE, data, out, surrogates=surrogates)
    if maker is None:
        assert (matrix.loc[matrix["detector"] == "linear", "status"] == "ok").all()
    return matrix


def statuses(matrix: pd.DataFrame, detector: str = "made") -> dict[tuple[str, str], str]:
    own = matrix[matrix["detector"] == detector]
    return dict(zip(zip(own["mode"], own["attack"], strict=True), own["status"], strict=True))


def test_logits_that_are_no_number_make_errors_and_the_run_goes_on(
    data: Dataset, tmp_path: Path
) -> None:
    matrix = run(Made(lambda images: brightness(images) * torch.nan), data, tmp_path)
    found = statuses(matrix)
    assert found["clean", "clean"].startswith(
        "error: clean: made gave a logit of nan for 12 of 12 images"
    )
    assert (
        found["white-box", "pgd-linf-8"]
        == "error: pgd-linf-8: not tried, because the clean images could not be scored"
    )
    assert "worst-case" in {attack for _, attack in found}
    assert not any(status == "ok" for status in found.values())
    assert matrix.loc[matrix["detector"] == "made", "accuracy"].isna().all()
    folders = [path.name for path in (tmp_path / "cells" / "made").iterdir()]
    assert folders == ["clean-clean"]
    assert "LogitsError" in (tmp_path / "cells" / "made" / "clean-clean" / "error.txt").read_text()
    assert "| made | error | error | error |" in (tmp_path / "matrix.md").read_text()
    for name in ("matrix.md", "report.html"):
        text = (tmp_path / name).read_text()
        assert "made, clean, clean: error: clean: made gave a logit of nan" in text
    pd.testing.assert_frame_equal(
        pd.DataFrame(read_matrix(tmp_path)),
        pd.DataFrame(matrix),
        check_dtype=False,
        rtol=0,
        atol=1e-6,
    )


class Mended(Made):
    """A detector whose backward pass breaks until it is fixed."""

    def __init__(self) -> None:
        super().__init__(self.answer)
        self.broken = True

    def answer(self, images: Tensor) -> Tensor:
        if self.broken and images.requires_grad:
            raise RuntimeError("no backward\nhere")
        return brightness(images)


def test_an_errored_cell_is_no_part_of_the_worst_case_and_is_tried_again(
    data: Dataset, tmp_path: Path
) -> None:
    detector = Mended()
    matrix = run(detector, data, tmp_path)
    found, note = (
        statuses(matrix),
        tmp_path / "cells" / "made" / "white-box-pgd-linf-8" / "error.txt",
    )
    assert found["white-box", "pgd-linf-8"] == "error: pgd-linf-8: RuntimeError: no backward here"
    assert found["white-box", "worst-case"] == "incomplete: pgd-linf-8 failed"
    assert found["static", "worst-case"] == found["white-box", "square-linf-8"] == "ok"
    assert (
        matrix.cell("made", "worst-case", "white-box")["accuracy"]
        <= matrix.cell("made", "clean", "clean")["accuracy"]
    )
    assert "Traceback" in note.read_text()
    page, table = (tmp_path / "report.html").read_text(), (tmp_path / "matrix.md").read_text()
    assert 'title="error: pgd-linf-8: RuntimeError: no backward here">error</td>' in page
    assert "(incomplete, flagged)" in table
    assert "made, white-box, worst-case: incomplete: pgd-linf-8 failed" in table
    detector.broken = False
    again = run(detector, data, tmp_path)
    assert (again["status"] == "ok").all()
    assert not note.exists()
    assert (
        again.cell("made", "pgd-linf-8", "white-box")["accuracy"]
        == again.cell("linear", "pgd-linf-8", "white-box")["accuracy"]
    )


def test_a_black_box_has_no_rows_of_gradient_attacks(data: Dataset, tmp_path: Path) -> None:
    found = statuses(
        run(Made(lambda images: brightness(images.detach()), gradient="none"), data, tmp_path)
    )
    reason = "unavailable: pgd-linf needs gradients, and made has none (a black box)"
    assert found["white-box", "pgd-linf-8"] == reason
    assert found["white-box", "worst-case"] == "incomplete: pgd-linf-8 unavailable"


def test_a_surrogate_that_breaks_costs_its_own_rows_only(data: Dataset, tmp_path: Path) -> None:
    matrix = run(Made(brightness), data, tmp_path, maker=Mended())
    found = statuses(matrix)
    assert found["static", "pgd-linf-8"] == "error: pgd-linf-8: RuntimeError: no backward here"
    assert (
        found["static", "square-linf-8"]
        == found["static", "jpeg-50"]
        == found["white-box", "pgd-linf-8"]
        == "ok"
    )
    assert found["static", "worst-case"] == "incomplete: pgd-linf-8 failed"
    assert found["white-box", "worst-case"] == "ok"
    assert "Traceback" in (tmp_path / "plusplus" / "errors" / "pgd-linf-8.txt").read_text()


def test_nothing_but_errors_is_still_a_report(data: Dataset, tmp_path: Path) -> None:
    broken = Made(lambda images: brightness(images) * torch.nan)
    matrix = evaluate([broken], SUITE, data, tmp_path, surrogates={})
    assert matrix["accuracy"].isna().all()
    assert "made: n/a" not in (tmp_path / "report.html").read_text()
    assert read_matrix(tmp_path)["status"].tolist() == matrix["status"].tolist()
    table = evaluate_cells({"far": Unavailable("no hub")}, SUITE, data, tmp_path, surrogates={})
    assert table["status"].tolist() == ["unavailable: no hub"]


def test_a_missing_surrogate_leaves_the_worst_case_incomplete(
    data: Dataset, tmp_path: Path
) -> None:
    found = statuses(
        evaluate_cells({"made": Made(brightness)}, SUITE, data, tmp_path, surrogates={})
    )
    assert (
        found["static", "worst-case"]
        == "incomplete: pgd-linf-8 unavailable, square-linf-8 unavailable"
    )
    assert found["white-box", "worst-case"] == "ok"


def test_an_interrupt_stops_the_run(data: Dataset, tmp_path: Path) -> None:
    def interrupted(images: Tensor) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Made(interrupted), data, tmp_path)


@pytest.mark.parametrize(
    ("number", "value"), [("steps", 0), ("eps", -1), ("eps", 256), ("eps", "big")]
)
def test_bad_numbers_are_refused_before_anything_runs(
    number: str, value: object, tmp_path: Path
) -> None:
    path = tmp_path / "bad.toml"
    row = f'id = "a"\nattack = "pgd-linf"\nwith = {{ {number} = {value!r} }}\n'
    path.write_text(f'name = "bad"\nversion = 1\nseed = 0\n[[attacks]]\n{row}')
    with pytest.raises(ConfigError, match=f"pgd-linf wants {number} of .* got {value!r}"):
        load_suite(str(path))

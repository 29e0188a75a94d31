"""The report's page in a real browser: no request, no message, numbers of the matrix, odd names,
many cells.
"""

import colorsys
import re
import shutil
import statistics
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from robustbench_aigi.evaluation.matrix import MatrixFrame
from robustbench_aigi.evaluation.run_state import Tables
from robustbench_aigi.report import RunResults, read_matrix, read_runs, write_html
from robustbench_aigi.report.html.plots.recognition import recall_by_generator
from tests.finished_run import detector, finished

sync_api = pytest.importorskip("playwright.sync_api")
BROWSER = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (path := shutil.which(name))
    ),
    None,
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
ODD = "<script>alert(1)</script> \"quoted\" 'twice' مرحبا"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"]
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_recipe: str) -> Path:
    made = [detector("good"), detector("fakes only", -1e6), detector("reals only", 1e6)]
    return finished(tmp_path_factory.mktemp("run"), tiny_recipe, *made)


class Page:
    """A page that was opened, and all that it said or asked for."""

    def __init__(self, browser: Any, path: Path, width: int = 1280) -> None:
        self.said: list[str] = []
        self.page = browser.new_page(viewport={"width": width, "height": 900})
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(dialog.message))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.asked: list[str] = []
        self.page.goto(path.as_uri())

    def cells(self) -> dict[tuple[str, str], str]:
        """Texts of the heat map by detector and column."""
        rows = self.page.locator("#heatmap tr").all()
        heads = [
            " ".join(head.all_inner_texts()[0].split()) for head in rows[0].locator("th").all()
        ]
        found = {}
        for row in rows[1:]:
            name = row.locator("th").inner_text()
            for head, cell in zip(heads[1:], row.locator("td").all_inner_texts(), strict=True):
                found[name, head] = cell.rstrip("*°")
        return found

    def names(self) -> list[str]:
        """Detectors from top to bottom."""
        return list(self.page.locator("#heatmap tbody th").all_inner_texts())


def expected(
    matrix: MatrixFrame, metric: str, mode: str, direction: str
) -> dict[tuple[str, str], str]:
    found = {}
    for row in matrix[
        (matrix["direction"] == direction) & matrix["mode"].isin(["clean", mode])
    ].to_dict("records"):
        column = row["attack"] if row["mode"] == row["attack"] else f"{row['attack']} {row['mode']}"
        found[row["detector"], column] = (
            "n/a" if pd.isna(row[metric]) else f"{100 * row[metric]:.1f}"
        )
    return found


def test_the_page_shows_the_matrix_and_asks_nobody(run: Path, browser: Any) -> None:
    opened, matrix = Page(browser, run / "report.html"), read_matrix(run)
    for metric in ("accuracy", "success_rate", "auc"):
        for mode in ("static", "white-box"):
            for direction in ("both", "evasion", "framing"):
                opened.page.select_option("#metric", metric)
                opened.page.select_option("#mode", mode)
                opened.page.select_option("#direction", direction)
                assert opened.cells() == expected(matrix, metric, mode, direction), (
                    metric,
                    mode,
                    direction,
                )
    assert opened.said == []
    assert opened.asked == [(run / "report.html").as_uri()]
    assert not re.search(r"(src|href)=\"(?!data:|#)", (run / "report.html").read_text())
    assert (run / "report.html").stat().st_size < 5_000_000


def test_sorting_and_filtering_change_what_is_shown(run: Path, browser: Any) -> None:
    opened, matrix = Page(browser, run / "report.html"), read_matrix(run)
    opened.page.select_option("#direction", "evasion")
    clean = opened.page.get_by_role("button", name="clean", exact=True)
    clean.press("Enter")
    shares = {
        name: matrix.cell(name, "clean", "clean", "evasion")["accuracy"] for name in opened.names()
    }
    assert [shares[name] for name in opened.names()] == sorted(shares.values(), reverse=True)
    assert opened.page.locator("#heatmap th[aria-sort=descending]").inner_text().startswith("clean")
    opened.page.keyboard.press("Enter")  # the focus stays on the button
    assert [shares[name] for name in opened.names()] == sorted(shares.values())
    opened.page.get_by_role("button", name="detector", exact=True).click()
    assert opened.names() == sorted(shares)
    opened.page.fill("#detectors", "ONLY")
    assert set(opened.names()) == {"fakes only", "reals only"}
    opened.page.fill("#attacks", "jpeg")
    assert {column for _, column in opened.cells()} == {"clean", "jpeg-50 static"}
    opened.page.locator("#heatmap td").first.hover()
    reported = opened.page.locator("#detail").inner_text()
    assert "n = 12" in reported
    assert "95% interval" in reported


def test_odd_names_are_text(tmp_path: Path, run: Path, browser: Any) -> None:
    matrix = read_matrix(run).replace({"detector": {"good": ODD}})
    write_html(RunResults(MatrixFrame(matrix)), tmp_path / "odd.html")
    opened = Page(browser, tmp_path / "odd.html")
    assert ODD in opened.names()
    assert opened.page.locator(".tiles h2").first.inner_text() == ODD
    assert opened.said == []


def test_many_detectors_and_attacks_stay_usable(tmp_path: Path, run: Path, browser: Any) -> None:
    good = read_matrix(run)
    good = MatrixFrame(good[(good["detector"] == "good") & (good["attack"] != "worst-case")])
    attacked = pd.DataFrame(good[good["mode"] != "clean"])
    wide = pd.concat(
        [
            pd.DataFrame(good),
            *(attacked.assign(attack=attacked["attack"] + f"-{i}") for i in range(9)),
        ]
    )
    many = MatrixFrame(pd.concat([wide.assign(detector=f"detector {i}") for i in range(50)]))
    write_html(RunResults(many), tmp_path / "many.html")
    assert (tmp_path / "many.html").stat().st_size < 5_000_000
    opened = Page(browser, tmp_path / "many.html")
    assert len(opened.names()) == 50
    assert opened.page.locator("#heatmap thead th").count() == 32
    spent = """async () => {
      const times = [];
      for (const value of ["evasion", "framing", "both", "evasion", "framing"]) {
        const began = performance.now();
        const select = document.getElementById("direction");
        select.value = value;
        select.dispatchEvent(new Event("input"));
        document.getElementById("heatmap").getBoundingClientRect();
        times.push(performance.now() - began);
      }
      return times;
    }"""
    assert statistics.median(opened.page.evaluate(spent)) < 200


def test_axe_finds_no_serious_issue(run: Path, browser: Any) -> None:
    axe = pytest.importorskip("axe_core_python.sync_playwright").Axe()
    for width in (1280, 390):
        opened = Page(browser, run / "report.html", width)
        found = axe.run(opened.page)["violations"]
        assert [
            (v["id"], v["nodes"][0]["html"])
            for v in found
            if v["impact"] in ("serious", "critical")
        ] == []


def test_a_phone_needs_no_sideways_scrolling(run: Path, browser: Any) -> None:
    opened = Page(browser, run / "report.html", 390)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_wide_matrix_fits_on_paper_and_paper_is_white(
    run: Path, tmp_path: Path, browser: Any
) -> None:
    good = read_matrix(run)
    attacked = pd.DataFrame(good[good["mode"] != "clean"])
    wide = pd.concat(
        [
            pd.DataFrame(good),
            *(attacked.assign(attack=attacked["attack"] + f"-{i}") for i in range(4)),
        ]
    )
    write_html(RunResults(MatrixFrame(wide)), tmp_path / "wide.html")
    opened = Page(browser, tmp_path / "wide.html", 1046)  # A4 sideways within its margins
    opened.page.emulate_media(media="print", color_scheme="dark")
    assert opened.page.locator("#heatmap thead th").count() > 24
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 1046
    assert (
        opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
        == "rgb(255, 255, 255)"
    )


def test_numbers_are_there_without_scripts(run: Path) -> None:
    matrix, text = read_matrix(run), (run / "report.html").read_text()
    share = matrix.cell("good", "jpeg-50", "static")["accuracy"]
    assert f">{100 * share:.1f}</td>" in text


def hue(opened: Page, detector: str, column: int) -> float:
    """The colour of a cell of the heat map, as an angle from red (0) to green (120)."""
    cell = opened.page.locator("#heatmap tbody tr", has_text=detector).locator("td").nth(column)
    red, green, blue = map(
        int, re.findall(r"\d+", cell.evaluate("box => getComputedStyle(box).backgroundColor"))[:3]
    )
    return 360 * colorsys.rgb_to_hls(red / 255, green / 255, blue / 255)[0]


def test_colours_run_from_chance_upwards(tmp_path: Path, run: Path, browser: Any) -> None:
    """B18: a detector of 48% was coloured greenish."""
    clean = pd.DataFrame(read_matrix(run)).query("detector == 'good' and mode == 'clean'")
    shares = {"low": 0.2, "near": 0.48, "chance": 0.5, "some": 0.75, "all": 1.0}
    many = MatrixFrame(
        pd.concat([clean.assign(detector=name, accuracy=share) for name, share in shares.items()])
    )
    write_html(RunResults(many), tmp_path / "page.html")
    opened = Page(browser, tmp_path / "page.html")
    hues = {name: hue(opened, name, 0) for name in shares}
    assert hues["low"] == hues["near"] == hues["chance"] < 20
    assert hues["chance"] < hues["some"] < hues["all"]
    assert hues["all"] > 110
    blocks = re.findall(r"([^{}]*)\{\s*background-color: (#\w+)", many.style.to_html())
    rows = {row: colour for cells, colour in blocks for row in re.findall(r"_row(\d+)_col0", cells)}
    styled = {name: rows[str(place)] for place, name in enumerate(many.wide().index)}
    assert styled["low"] == styled["near"] == styled["chance"] != styled["some"] != styled["all"]


def test_labels_of_many_generators_do_not_overlap(tmp_path: Path, run: Path, browser: Any) -> None:
    """B18."""
    whole = read_runs([run])
    cells = {key: whole.cells[key] for key in whole.cells if key[1] == "clean"}
    names = [f"a-generator-with-a-long-name-{place}" for place in range(50)]
    for key, table in cells.items():
        rows = table[table["label"] == 1].iloc[:1]
        cells[key] = pd.concat([rows.assign(generator=name) for name in names], ignore_index=True)
    plot = recall_by_generator(
        whole.matrix,
        Tables({key: partial(lambda table: table, table) for key, table in cells.items()}),
    )
    assert plot is not None
    assert "The 40 of 50 that are recognised least." in plot.about
    path = tmp_path / "plot.html"
    path.write_text(f'<meta charset="utf-8"><div style="width: 430px">{plot.svg}</div>')
    opened = Page(browser, path, 500)
    boxes = [
        text.bounding_box()
        for text in opened.page.locator("svg text", has_text="a-generator").all()
    ]
    assert len(boxes) == 40
    boxes.sort(key=lambda box: box["y"])
    assert all(one["y"] + one["height"] <= two["y"] + 1 for one, two in pairwise(boxes))
    assert all(box["x"] >= 0 for box in boxes)


def test_grad_cam_is_promised_only_where_it_is(tmp_path: Path, tiny_recipe: str, run: Path) -> None:
    """B18."""
    blind = detector("blind")
    blind.describe(cam="")
    out = finished(tmp_path / "blind", tiny_recipe, blind)
    text = (out / "report.html").read_text()
    assert "Gallery" in text
    assert "Grad-CAM" not in re.sub(r"(?s)<pre>.*?</pre>", "", text)
    seeing = (run / "report.html").read_text()
    assert ('alt="Grad-CAM' in seeing) == ("Grad-CAM of what speaks" in seeing)

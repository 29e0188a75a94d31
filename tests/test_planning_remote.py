"""A plan for a detector on another machine: requests, price and time are reported, and nothing is
sent.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from robustbench_aigi.attacks import Suite, load_attack
from robustbench_aigi.cli.main import main
from robustbench_aigi.data import load_data
from robustbench_aigi.detectors import Detector, load_detector
from robustbench_aigi.errors import UnavailableError
from robustbench_aigi.evaluation.cost_text import to_text
from robustbench_aigi.evaluation.remote_costs import TERMS_NOTICE
from robustbench_aigi.pipeline.evaluate import evaluate
from robustbench_aigi.pipeline.plan import plan_evaluation
from tests.endpoints import Reply, Server, brightness, serving
from tests.finished_run import detector

SUITE = Suite.model_validate(
    {
        "name": "small",
        "version": 1,
        "seed": 0,
        "attacks": [
            {"id": "pgd", "attack": "pgd-linf", "with": {"steps": 2}, "surrogate": "good"},
            {"id": "square", "attack": "square-linf", "with": {"queries": 6}, "limit": 4},
            {
                "id": "pixel",
                "attack": "one-pixel",
                "with": {"population": 4, "generations": 2},
                "limit": 4,
            },
            {"id": "jpeg", "attack": "jpeg"},
        ],
    }
)
IMAGES = 12


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with serving(lambda seen: Reply(200, {"score": brightness(seen.body)})) as made:
        yield made


def test_a_plan_sends_nothing_and_bounds_what_an_evaluation_sends(
    server: Server, tiny_recipe: str, tmp_path: Path
) -> None:
    remote = load_detector(
        f"far={server.base}/detect", price=0.01, requests_per_second=1000, budget=5000
    )
    made = [detector("good"), remote]
    table, held = plan_evaluation(made, SUITE, tiny_recipe, limit=IMAGES)
    assert server.seen == []
    own = table[table["detector"] == "far"].set_index(["mode", "attack"])["requests"].to_dict()
    assert own == {
        ("clean", "clean"): IMAGES,
        ("static", "pgd"): IMAGES,
        ("static", "jpeg"): IMAGES,
        ("white-box", "square"): 4 * 6,
        ("white-box", "pixel"): 4 * 4 * 3,
    }
    most = sum(own.values())
    assert (table.loc[table["detector"] != "far", "requests"] == 0).all()
    text = to_text(table, 1, held)
    assert (
        f"far: at most {most:.0f} requests, retries aside, {most / 100:.2f} USD; 0.0 hours at 1000"
        " per second" in text
    )
    assert "Nothing was sent" in text
    assert TERMS_NOTICE in text
    assert "| good | " in text
    assert "| far | " not in text
    said: list[str] = []
    images = load_data(tiny_recipe, None, "test", IMAGES)
    evaluate(made, SUITE, images, tmp_path, say=said.append)
    assert said[0].startswith(f"far: at most {most:.0f} requests")
    assert said[1] == TERMS_NOTICE
    assert 0 < len(server.seen) <= most


def test_a_budget_below_what_is_needed_and_an_attack_without_bound_are_told(
    server: Server, tiny_recipe: str
) -> None:
    remote = load_detector(f"far={server.base}/detect", budget=50)
    text = planned(remote, SUITE, tiny_recipe)
    assert (
        "far: at most 50 requests, retries aside, a price that is not known (write price=); no rate"
        " limit" in text
    )
    assert "are needed, and the budget of 50 ends the run before. Raise it with budget=." in text
    row = {"id": "simba", "attack": "art:SimBA"}
    unbounded = Suite.model_validate({"name": "one", "version": 1, "seed": 0, "attacks": [row]})
    text = planned(remote, unbounded, tiny_recipe)
    assert "an attack of the suite has no bound" in text
    assert "at most 50 requests" in text
    assert server.seen == []


def planned(remote: Detector, suite: Suite, recipe: str) -> str:
    table, held = plan_evaluation([remote], suite, recipe, limit=IMAGES)
    return to_text(table, 1, held)


def test_a_detector_out_of_reach_is_told(tiny_recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HIVE_API_KEY", raising=False)
    with pytest.raises(UnavailableError, match=r"hive-v3 is not in the plan.*export HIVE_API_KEY="):
        plan_evaluation(["endpoint:hive-v3"], SUITE, tiny_recipe)
    said: list[str] = []
    one = Suite.model_validate(
        {"name": "one", "version": 1, "seed": 0, "attacks": [{"id": "jpeg", "attack": "jpeg"}]}
    )
    plan_evaluation(
        [detector("good"), "endpoint:hive-v3"], one, tiny_recipe, limit=4, say=said.append
    )
    assert "HIVE_API_KEY" in said[0]


def test_attacks_know_the_most_they_ask() -> None:
    assert load_attack("one-pixel-exhaustive").most_queries(5, 7) == 8 * 35
    assert load_attack("hop-skip-jump-l2", queries=70).most_queries(5, 7) == 70
    assert load_attack("pgd-linf").most_queries(5, 7) is None


def test_the_commands_tell_it(
    server: Server,
    tiny_recipe: str,
    tiny_suite: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def typed(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["robustbench-aigi", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        return capsys.readouterr().out

    message = typed(
        "plan",
        f"far={server.base}/detect",
        "--data",
        tiny_recipe,
        "--attacks",
        tiny_suite,
        "--limit",
        "8",
    )
    assert "far: at most" in message
    assert TERMS_NOTICE in message
    assert server.seen == []
    assert "hive-v3" in typed("list", "endpoints")

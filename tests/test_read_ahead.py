"""Decoding and encoding beside the attack: in order, one batch ahead, errors in their place."""

import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from robustbench_aigi.attacks import load_attack
from robustbench_aigi.data import Dataset, load_data
from robustbench_aigi.data.decoding import encode_pngs
from robustbench_aigi.data.reading import read_pixels
from robustbench_aigi.evaluation.shard_work import attacked
from robustbench_aigi.io.read_ahead import read_ahead
from tests.conftest import Linear

SECONDS = 30.0
"""Longest wait for a thread; without overlap the wait ends in a failure."""


def test_one_item_is_made_ahead() -> None:
    made = [threading.Event() for _ in range(4)]

    def items() -> Iterator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number

    ahead = read_ahead(items())
    assert next(ahead) == 0
    assert made[1].wait(SECONDS)
    assert not made[2].is_set()
    assert list(ahead) == [1, 2, 3]


def test_an_error_comes_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("damaged")

    ahead = read_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="damaged"):
        next(ahead)


def test_an_abandoned_reader_ends_its_thread() -> None:
    before = threading.active_count()
    ahead = read_ahead(iter(range(100)))
    next(ahead)
    ahead.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


class Waiting(Linear):
    """Scores once the next batch was read, and once the images before were encoded."""

    read: threading.Event
    encoded: threading.Event
    is_overlapped = True

    def logits(self, images: Tensor) -> Tensor:
        self.is_overlapped &= self.read.wait(SECONDS) and self.encoded.wait(SECONDS)
        return super().logits(images)


def test_reading_and_encoding_happen_during_an_attack(
    tiny_recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    few: Dataset = load_data(tiny_recipe, split="test", limit=4)
    detector = Waiting(torch.zeros(3, 32, 32), 1.0)
    detector.read = threading.Event()
    detector.encoded = threading.Event()
    detector.encoded.set()
    monkeypatch.setattr("robustbench_aigi.data.dataset.BATCH_PIXELS", 2 * 32 * 32)
    attack = load_attack("pgd-linf", eps=8, step=2, steps=1)

    def watched_reading(rows: object) -> Iterator[Tensor]:
        for position, pixels in enumerate(read_pixels(rows)):  # type: ignore[arg-type]
            yield pixels
            if position == 2:
                detector.read.set()

    def watched_encoding(images: Tensor) -> list[bytes]:
        files = encode_pngs(images)
        detector.encoded.set()
        return files

    class Attack:
        batches = 0

        def __call__(self, *given: object, **options: object) -> object:
            result = attack(*given, **options)  # type: ignore[arg-type]
            self.batches += 1
            if self.batches == 1:
                detector.encoded.clear()
            return result

    monkeypatch.setattr("robustbench_aigi.data.dataset.read_pixels", watched_reading)
    monkeypatch.setattr("robustbench_aigi.evaluation.shard_work.encode_pngs", watched_encoding)
    work = attacked(detector, Attack(), 0, keep_images=True)  # type: ignore[arg-type]
    table = work(few)
    assert detector.is_overlapped
    assert table["id"].tolist() == few.manifest["id"].tolist()
    assert table["png"].map(lambda file: file[:4]).eq(b"\x89PNG").all()

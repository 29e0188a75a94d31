import numpy as np
import torch

from robustbench_aigi.data import load_data
from robustbench_aigi.data.photographs import PHOTOGRAPH_SPLITS, load_photograph
from robustbench_aigi.generators import DiffusionConfig, PixelDiffusion


def test_photographs_are_colour_and_on_one_side_only() -> None:
    names = [name for split in PHOTOGRAPH_SPLITS.values() for name in split]
    assert len(names) == len(set(names)) == 10
    for name in names:
        pixels = load_photograph(name)
        assert pixels.ndim == 3
        assert pixels.shape[2] == 3
        assert int(np.ptp(pixels.astype(int), axis=2).max()) > 20


def test_mini_matches_content_size_and_encoding(tiny_recipe: str) -> None:
    data = load_data(tiny_recipe)
    rows = data.manifest
    assert rows.groupby(["split", "label"]).size().unstack().eq([50, 50]).loc["train"].all()
    assert rows["sha256"].is_unique
    assert all(pixels.shape == (3, 32, 32) for pixels in data.pixels())
    assert all(content[:8] == b"\x89PNG\r\n\x1a\n" for content in data.contents())
    again = rows[rows["id"].str.endswith("-again")]
    reals = rows[rows["label"] == 0].set_index("id")
    for parent, split in zip(again["parent"], again["split"], strict=True):
        matched = reals.index[reals.index.str.replace("/REAL/", "/") == parent]
        assert len(matched) == 1
        assert reals.loc[matched[0], "split"] == split
    for split, photographs in PHOTOGRAPH_SPLITS.items():
        ids = rows.loc[(rows["split"] == split) & (rows["label"] == 0), "id"]
        assert {i.split("/")[-1].split("-")[1] for i in ids} <= set(photographs)
    assert load_data(tiny_recipe).key == data.key


def test_the_diffusion_models_gate_falls_back_on_the_wiener_filter() -> None:
    """With the gate open it is the best linear prediction: exact where images hold nothing, none
    for white images.
    """
    torch.manual_seed(0)
    model = PixelDiffusion(DiffusionConfig(widths=(16, 32), depth=1))
    model.gate.data.fill_(50.0)
    noise = torch.randn(4, 3, 32, 32)
    steps = torch.tensor([50, 300, 600, 950])
    classes = torch.zeros(4, dtype=torch.int64)
    nothing = torch.zeros(4, 3, 32, 32)
    with torch.no_grad():
        model.power = torch.zeros(32, 32)
        seen = model(model.scheduler.add_noise(nothing, noise, steps), steps, classes)
        torch.testing.assert_close(
            seen, model.scheduler.get_velocity(nothing, noise, steps), atol=1e-4, rtol=1e-4
        )
        model.power = torch.ones(32, 32)
        torch.testing.assert_close(model(noise, steps, classes), nothing, atol=1e-5, rtol=0)

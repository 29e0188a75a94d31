import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, DiffusionPipeline, UNet2DModel

from robustbench_aigi.errors import ConfigError, DataError, UnavailableError
from robustbench_aigi.generators import CLASS_NAMES, SHIPPED_DIFFUSION, PixelDiffusion
from robustbench_aigi.generators.pipelines import MAX_DRAWS, TextToImage, load_sampler
from robustbench_aigi.io.hashing import rngs_for
from tests import tiny_pipelines
from tests.tiny_pipelines import NUMBERS, level

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny Stable Diffusion in a folder named as the hub's cache names a commit."""
    return tiny_pipelines.save("stable-diffusion", tmp_path_factory.mktemp("hub") / COMMIT)


def rngs(*names: str) -> list[torch.Generator]:
    return rngs_for(0, "test", names)


@pytest.mark.parametrize("family", sorted(NUMBERS))
def test_an_image_depends_on_its_prompt_and_generator_alone(family: str, tmp_path: Path) -> None:
    sampler = TextToImage(
        tiny_pipelines.save(family, tmp_path), steps=2, size=32, more=NUMBERS[family]
    )
    prompts = ["a photograph of a cat", "a photograph of a dog"]
    both = sampler.sample(prompts, rngs("x", "y"))
    assert both.shape == (2, 3, 32, 32)
    assert both.dtype == torch.uint8
    assert level(sampler.sample(prompts[::-1], rngs("y", "x")).flip(0), both) <= 1
    alone = sampler.sample(prompts[:1], rngs("x"))
    assert level(alone, both[:1]) <= 1
    assert torch.equal(sampler.sample(prompts[:1], rngs("x")), alone)
    assert level(sampler.sample(prompts[:1], rngs("z")), alone) > 10
    assert level(sampler.sample(prompts[1:], rngs("x")), alone) > 0


def test_the_shipped_model_draws_by_the_name_of_a_class() -> None:
    sampler = load_sampler("mini-diffusion", steps=2)
    drawn = sampler.sample(["cat", "ship"], rngs("x", "y"))
    again = PixelDiffusion.load(SHIPPED_DIFFUSION).sample(
        [CLASS_NAMES.index("cat"), CLASS_NAMES.index("ship")], rngs("x", "y"), 2
    )
    assert level(drawn, (again * 255).round()) == 0
    with pytest.raises(ConfigError, match="must be a class, got 'a cat'"):
        sampler.sample(["a cat"], rngs("x"))


def test_the_hub_is_asked_for_safetensors_of_a_commit(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def download(name: str, **options: Any) -> str:
        asked.update(options, name=name)
        return tiny

    monkeypatch.setattr(DiffusionPipeline, "download", download)
    assert TextToImage("owner/model", revision="abc").revision == COMMIT
    assert asked == {"name": "owner/model", "revision": "abc", "use_safetensors": True}

    def offline(name: str, **options: Any) -> str:
        raise OSError("no way there")

    monkeypatch.setattr(DiffusionPipeline, "download", offline)
    with pytest.raises(
        UnavailableError,
        match=r"'owner/model': no way there.*pip install.*HF_HOME.*licence.*local folder",
    ):
        load_sampler("owner/model")


def copied(folder: str, target: Path) -> Path:
    for file in Path(folder).rglob("*"):
        if file.is_file():
            place = target / file.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read_bytes())
    return target


@pytest.mark.parametrize("where", ["pipeline", "component"])
def test_code_that_comes_with_a_model_is_never_run(where: str, tiny: str, tmp_path: Path) -> None:
    folder, marker = copied(tiny, tmp_path / "model"), tmp_path / "ran"
    index = json.loads((folder / "model_index.json").read_text())
    own = folder if where == "pipeline" else folder / "unet"
    (own / "own_code.py").write_text(f"open({str(marker)!r}, 'w')\nclass Own: pass\n")
    index |= {"_class_name" if where == "pipeline" else "unet": ["own_code", "Own"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(UnavailableError, match="cannot load"):
        TextToImage(str(folder))
    assert not marker.exists()


@pytest.mark.parametrize("fault", ["pickle", "truncated", "no index", "index of text"])
def test_damaged_and_pickled_models_have_a_message(fault: str, tiny: str, tmp_path: Path) -> None:
    folder = copied(tiny, tmp_path / "model")
    weights, index = (
        folder / "unet" / "diffusion_pytorch_model.safetensors",
        folder / "model_index.json",
    )
    if fault == "pickle":
        weights.unlink()
        torch.save({}, weights.with_suffix(".bin"))
    elif fault == "truncated":
        weights.write_bytes(weights.read_bytes()[:500])
    elif fault == "no index":
        index.unlink()
    else:
        index.write_text("no JSON")
    with pytest.raises(UnavailableError, match="cannot load a text-to-image pipeline"):
        TextToImage(str(folder))


def test_what_is_no_text_to_image_pipeline_and_what_numbers_do_not_fit(
    tiny: str, tmp_path: Path
) -> None:
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    net = UNet2DModel(
        sample_size=16, block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1, **blocks
    )
    DDPMPipeline(net, DDPMScheduler()).save_pretrained(tmp_path)
    with pytest.raises(
        ConfigError, match="DDPMPipeline, whose call takes no guidance_scale, prompt"
    ):
        TextToImage(str(tmp_path))
    with pytest.raises(ConfigError, match="takes no speed"):
        TextToImage(tiny, more={"speed": 3})
    with pytest.raises(ConfigError, match=r"does not take .*'height': 30.*Change its numbers"):
        TextToImage(tiny, steps=1, size=30).sample(["a cat"], rngs("x"))


def answering(
    tiny: str, monkeypatch: pytest.MonkeyPatch, rejections: float, value: float = 0.0
) -> TextToImage:
    """A pipeline whose checker blackens its first images, and which makes images of one draw
    otherwise.
    """
    sampler, calls = TextToImage(tiny), iter(range(1000))

    def pipe(prompt: list[str], generator: list[torch.Generator], **rest: Any) -> SimpleNamespace:
        draws = [value + float(torch.rand(1, generator=rng)) for rng in generator]
        flags = [next(calls) < rejections for _ in prompt]
        return SimpleNamespace(
            images=[np.full((4, 4, 3), d) for d in draws], nsfw_content_detected=flags
        )

    monkeypatch.setattr(sampler, "pipe", pipe)
    return sampler


def test_blackened_images_are_drawn_again_from_the_same_generator(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = answering(tiny, monkeypatch, rejections=1)
    drawn = sampler.sample(["a", "b"], rngs("x", "y"))
    first, second = rngs("x", "y")
    _, wanted = torch.rand(1, generator=first), torch.rand(1, generator=first)
    assert drawn[0].unique().tolist() == [round(255 * float(wanted))]
    assert drawn[1].unique().tolist() == [round(255 * float(torch.rand(1, generator=second)))]
    with pytest.raises(DataError, match="rejects every image of 'a'"):
        answering(tiny, monkeypatch, rejections=MAX_DRAWS + 1).sample(["a"], rngs("x"))
    with pytest.raises(DataError, match=r'NaN or infinite values\. Write dtype = "float32"'):
        answering(tiny, monkeypatch, rejections=0, value=math.nan).sample(["a"], rngs("x"))

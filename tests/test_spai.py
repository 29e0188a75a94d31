from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_aigi.detectors import detectors, load_detector
from robustbench_aigi.detectors._support.spectral_similarity import circle, windows
from robustbench_aigi.detectors.spai import SPAI
from robustbench_aigi.errors import UserError
from tests.test_artefacts import IMAGENET_NORMALISE, random, small, stir


def spai() -> SPAI:
    torch.manual_seed(0)
    return SPAI(**SPAI.small).eval()


def test_windows_tile_or_are_five_crops() -> None:
    images = random(2, 3, 70, 100)
    tiles = windows(images, 32)
    assert tiles.shape == (2, 6, 3, 32, 32)
    assert torch.equal(tiles[:, 4], images[:, :, 32:64, 32:64])
    crops = windows(images[..., :63], 32)
    assert crops.shape == (2, 5, 3, 32, 32)
    assert torch.equal(crops[:, 3], images[:, :, 38:70, 31:63])
    assert torch.equal(crops[:, 4], images[:, :, 19:51, 16:48])
    padded = windows(images[..., :25, :21], 32)
    assert padded.shape == (2, 1, 3, 32, 32)
    assert torch.equal(padded[:, 0, :, 3:28, 5:26], images[..., :25, :21])
    assert float(padded.sum()) == pytest.approx(float(images[..., :25, :21].sum()), rel=1e-5)


@torch.no_grad()
def test_one_window_is_five_equal_ones_and_order_is_nothing() -> None:
    detector = spai()
    image = random(1, 3, 32, 32)
    described = detector.described(image)
    torch.testing.assert_close(
        detector.pool(described.expand(1, 5, -1)), detector.pool(described[:, None])
    )
    image = random(1, 3, 64, 64)
    turned = torch.cat([image[:, :, 32:], image[:, :, :32]], dim=2)
    torch.testing.assert_close(detector.logits(image), detector.logits(turned))


def test_circle_is_the_authors() -> None:
    steps = torch.cat([torch.arange(112).flip(0), torch.arange(112)]).float()
    shifted = (steps[:, None].square() + steps[None].square()).sqrt() < 16
    assert torch.equal(circle(224, 16), torch.fft.ifftshift(shifted.float()))
    assert SPAI(**SPAI.small).mask.sum() == circle(32, 16 * 32 / 224).sum()


def test_the_vit_learns_at_a_tenth_of_the_rate() -> None:
    detector = small("spai")
    shares = {
        id(p): group["lr_scale"]
        for group in detector.parameter_groups(0.05)
        for p in group["params"]
    }
    vit = {id(p) for p in detector.get_submodule("vit").parameters()}
    assert set(shares) == {id(p) for p in detector.parameters()}
    assert all(share == (0.1 if key in vit else 1.0) for key, share in shares.items())


def test_spai_refuses_windows_that_patches_do_not_fill() -> None:
    with pytest.raises(UserError, match="multiple of patch, got 30 and 8"):
        load_detector("spai", window=30, patch=8)


def test_frozen_spai_still_shows_gradients_to_the_image() -> None:
    detector = small("spai", frozen=True)
    leaf = random(1, 3, 32, 32).requires_grad_(True)
    detector.logits(leaf).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.any()
    assert all(p.grad is None for p in detector.get_submodule("vit").parameters())


@torch.no_grad()
def test_spai_pth_loads_and_scores_as_written_out(tmp_path: Path) -> None:
    source = spai()
    stir(source)
    tensors = authors_spai(source)
    torch.save({"model": tensors, "epoch": 3}, tmp_path / "spai.pth")
    detector = load_detector("spai", weights=tmp_path / "spai.pth", **detectors.get("spai").small)
    image = random(1, 3, 32, 32)
    torch.testing.assert_close(
        detector.logits(image), spai_by_hand(tensors, image), atol=1e-4, rtol=1e-4
    )


def authors_spai(detector: SPAI) -> dict[str, Tensor]:
    """The tensors of a small SPAI under its authors' names, with what else their file holds."""
    renames = {
        "pool.query": "patch_aggregator",
        "pool.to_kv.": "to_kv.",
        "pool.to_out.": "to_out.0.",
        "head.": "cls_head.head.",
        "vit.": "mfvit.vit.",
        "projectors.": "mfvit.features_processor.patch_projector.projectors.",
        "context.": "mfvit.features_processor.original_features_processor.",
    }
    tensors = {
        "mfvit.frequencies_mask": torch.ones(32, 32),
        "mfvit.vit.fc_norm.weight": torch.ones(32),
    }
    for name, value in detector.state_dict().items():
        prefix = next((ours for ours in renames if name.startswith(ours)), "")
        own = renames.get(prefix, "") + name.removeprefix(prefix)
        if own.endswith("qkv.bias"):
            (
                tensors[own.replace("qkv.bias", "q_bias")],
                _,
                tensors[own.replace("qkv.bias", "v_bias")],
            ) = value.chunk(3)
        else:
            tensors[own] = value
    return tensors


def spai_by_hand(t: dict[str, Tensor], image: Tensor) -> Tensor:
    """SPAI on one window of 32 pixels, patches of 8, two heads, straight from the authors'
    tensors.
    """
    low_mask = circle(32, 16 * 32 / 224)
    transformed = torch.fft.fft2(image)
    bands = [torch.fft.ifft2(transformed * m).real.clamp(0, 1) for m in (low_mask, 1 - low_mask)]
    x, low, high = (
        _projected(t, _vit_by_hand(t, IMAGENET_NORMALISE(part))) for part in (image, *bands)
    )
    moments = []
    for one, other in ((x, low), (x, high), (low, high)):
        alike = (one * other).sum(dim=-1) / (one.norm(dim=-1) * other.norm(dim=-1))
        moments += [alike.mean(dim=1), alike.std(dim=1)]
    own = "mfvit.features_processor.original_features_processor."
    summary = _inner(t, f"{own}proj1.", torch.cat([x.mean(dim=1), x.std(dim=1)], dim=1))
    summary = _inner(t, f"{own}proj2.", (t[f"{own}alpha"][0].softmax(dim=0) * summary).sum(dim=0))
    described = torch.cat([*moments, summary])
    value = (t["to_kv.weight"] @ described).chunk(2)[1]  # over one window attention is its value
    pooled = F.layer_norm(
        t["to_out.0.weight"] @ value, described.shape, t["norm.weight"], t["norm.bias"]
    )
    for place in (0, 3, 6):
        pooled = F.linear(
            pooled, t[f"cls_head.head.{place}.weight"], t[f"cls_head.head.{place}.bias"]
        )
        pooled = F.relu(pooled) if place < 6 else pooled
    return pooled


def _norm(t: dict[str, Tensor], name: str, values: Tensor, eps: float) -> Tensor:
    return F.layer_norm(values, values.shape[-1:], t[f"{name}weight"], t[f"{name}bias"], eps)


def _vit_by_hand(t: dict[str, Tensor], image: Tensor) -> list[Tensor]:
    v = "mfvit.vit."
    patches = F.conv2d(
        image, t[f"{v}patch_embed.proj.weight"], t[f"{v}patch_embed.proj.bias"], stride=8
    )
    tokens = torch.cat([t[f"{v}cls_token"][0], patches[0].flatten(1).T]) + t[f"{v}pos_embed"][0]
    outputs = []
    for block in range(2):
        b = f"{v}blocks.{block}."
        normed = _norm(t, f"{b}norm1.", tokens, 1e-6)
        q_bias = t[f"{b}attn.q_bias"]
        v_bias = t[f"{b}attn.v_bias"]
        joined = normed @ t[f"{b}attn.qkv.weight"].T + torch.cat([q_bias, torch.zeros(32), v_bias])
        q, k, value = (part.view(-1, 2, 16).transpose(0, 1) for part in joined.chunk(3, dim=1))
        mixed = (q @ k.transpose(1, 2) / 4).softmax(dim=-1) @ value
        mixed = mixed.transpose(0, 1).flatten(1)
        tokens = tokens + F.linear(mixed, t[f"{b}attn.proj.weight"], t[f"{b}attn.proj.bias"])
        hidden = F.linear(
            _norm(t, f"{b}norm2.", tokens, 1e-6), t[f"{b}mlp.fc1.weight"], t[f"{b}mlp.fc1.bias"]
        )
        tokens = tokens + F.linear(F.gelu(hidden), t[f"{b}mlp.fc2.weight"], t[f"{b}mlp.fc2.bias"])
        outputs.append(tokens[1:])
    return outputs


def _projected(t: dict[str, Tensor], outputs: list[Tensor]) -> Tensor:
    """``(blocks, tokens, D)``."""
    made = []
    for block, tokens in enumerate(outputs):
        p = f"mfvit.features_processor.patch_projector.projectors.{block}."
        inner = F.linear(
            _norm(t, f"{p}norm1.", tokens, 1e-5),
            t[f"{p}projector.1.weight"],
            t[f"{p}projector.1.bias"],
        )
        inner = F.linear(F.gelu(inner), t[f"{p}projector.4.weight"], t[f"{p}projector.4.bias"])
        made.append(_norm(t, f"{p}norm2.", inner, 1e-5))
    return torch.stack(made)


def _inner(t: dict[str, Tensor], p: str, values: Tensor) -> Tensor:
    for place in (1, 4):
        values = F.gelu(
            F.linear(values, t[f"{p}projector.{place}.weight"], t[f"{p}projector.{place}.bias"])
        )
    return _norm(t, f"{p}norm2.", values, 1e-5)

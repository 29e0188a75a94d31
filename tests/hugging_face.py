"""Names and shapes of the tensors of Hugging Face's transformers, and values to fill them with."""

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.models.swin_transformer import get_relative_position_index
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]


def linear(name: str, before: int, after: int, *kernel: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (after, before, *kernel)} | (
        {f"{name}.bias": (after,)} if bias else {}
    )


def norm(name: str, dim: int) -> Shapes:
    return {f"{name}.weight": (dim,), f"{name}.bias": (dim,)}


def layer(at: str, dim: int, own: str) -> Shapes:
    """The names that a ViT, a Swin and a CvT share at Hugging Face; ``own`` is the folder of query,
    key and value.
    """
    shapes = norm(f"{at}.layernorm_before", dim) | norm(f"{at}.layernorm_after", dim)
    for part in ("query", "key", "value"):
        shapes |= linear(f"{at}.attention.{own}{part}", dim, dim)
    shapes |= linear(f"{at}.attention.output.dense", dim, dim)
    return (
        shapes
        | linear(f"{at}.intermediate.dense", dim, 4 * dim)
        | linear(f"{at}.output.dense", 4 * dim, dim)
    )


def vit_shapes() -> Shapes:
    shapes: Shapes = {
        "vit.embeddings.cls_token": (1, 1, 24),
        "vit.embeddings.position_embeddings": (1, 17, 24),
    }
    shapes |= linear("vit.embeddings.patch_embeddings.projection", 3, 24, 8, 8)
    for i in range(2):
        shapes |= layer(f"vit.encoder.layer.{i}", 24, "attention.")
    return shapes | norm("vit.layernorm", 24) | linear("classifier", 24, 2)


def swin_shapes() -> Shapes:
    shapes = linear("swin.embeddings.patch_embeddings.projection", 3, 12, 2, 2) | norm(
        "swin.embeddings.norm", 12
    )
    for i, (dim, heads) in enumerate(((12, 2), (24, 3))):
        for j in range(2):
            at = f"swin.encoder.layers.{i}.blocks.{j}"
            shapes |= layer(at, dim, "self.")
            shapes[f"{at}.attention.self.relative_position_bias_table"] = (49, heads)
            shapes[f"{at}.attention.self.relative_position_index"] = (16, 16)
    at = "swin.encoder.layers.0.downsample"
    shapes |= norm(f"{at}.norm", 48) | linear(f"{at}.reduction", 48, 24, bias=False)
    return shapes | norm("swin.layernorm", 24) | linear("classifier", 24, 2)


def cvt_shapes() -> Shapes:
    shapes: Shapes = {"cvt.encoder.stages.2.cls_token": (1, 1, 20)}
    stages = ((3, 8, 1, 7), (8, 12, 2, 3), (12, 20, 3, 3))
    for i, (before, dim, depth, kernel) in enumerate(stages):
        at = f"cvt.encoder.stages.{i}"
        shapes |= linear(
            f"{at}.embedding.convolution_embeddings.projection", before, dim, kernel, kernel
        )
        shapes |= norm(f"{at}.embedding.convolution_embeddings.normalization", dim)
        for j in range(depth):
            shapes |= layer(f"{at}.layers.{j}", dim, "attention.projection_")
            for part in ("query", "key", "value"):
                projection = f"convolution_projection_{part}.convolution_projection"
                own = f"{at}.layers.{j}.attention.attention.{projection}"
                shapes |= linear(f"{own}.convolution", 1, dim, 3, 3, bias=False) | norm(
                    f"{own}.normalization", dim
                )
                shapes |= {
                    f"{own}.normalization.running_{what}": (dim,) for what in ("mean", "var")
                }
                shapes[f"{own}.normalization.num_batches_tracked"] = ()
    return shapes | norm("layernorm", 20) | linear("classifier", 20, 2)


def filled(name: str, shape: tuple[int, ...]) -> Tensor:
    """The same values wherever a name is filled: none is zero or alike, so that no mix-up stays
    unseen.
    """
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    if name.endswith("relative_position_index"):
        index: Tensor = get_relative_position_index(4, 4)
        return index
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    if name.endswith("running_var"):
        return 0.5 + noise.abs()
    return 1 + 0.3 * noise if "norm" in name and name.endswith("weight") else 0.3 * noise


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def tiny_vit(labels: Sequence[str], **config: Any) -> Any:
    """A ViT of transformers with these labels, its weights far from zero."""
    transformers = pytest.importorskip("transformers")
    names = dict(enumerate(labels))
    return transformers.ViTForImageClassification(
        transformers.ViTConfig(
            **{
                "hidden_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "intermediate_size": 32,
            }
            | {
                "image_size": 24,
                "patch_size": 8,
                "initializer_range": 0.5,
                "num_labels": len(names),
            }
            | {"id2label": names, "label2id": {name: index for index, name in names.items()}}
            | config
        )
    ).eval()


def save_processor(folder: Path, **settings: Any) -> None:
    """An image processor for :func:`tiny_vit`."""
    transformers = pytest.importorskip("transformers")
    transformers.ViTImageProcessor(
        **({"size": {"height": 24, "width": 24}} | settings)
    ).save_pretrained(folder)


def save_tiny_vit(folder: Path, labels: Sequence[str], **config: Any) -> Path:
    """A folder as ``save_pretrained`` writes it: network and image processor."""
    tiny_vit(labels, **config).save_pretrained(folder)
    save_processor(folder)
    return folder


def on_the_hub(monkeypatch: pytest.MonkeyPatch, cache: Path, model: str) -> Path:
    """Where the files of a hub id are, were they downloaded once; no hub is asked."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    home = cache / f"models--{model.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(COMMIT)
    return home / "snapshots" / COMMIT

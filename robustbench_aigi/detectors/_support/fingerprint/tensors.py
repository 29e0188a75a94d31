"""What a fingerprint takes of torch's own objects: tensors, hooks, TorchScript archives."""

import io
import re
import zipfile
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

HOOK_TABLES = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
"""Attributes in which a module keeps its hooks."""
PLAIN_TENSORS = (Tensor, nn.Parameter, nn.Buffer)
VARYING_FILES = (".debug_pkl", "serialization_id", "/version")
"""Endings of files of a TorchScript archive that no logit depends on."""


def missing_values(tensor: Tensor) -> str | None:
    """Return in words why a tensor has no values; None if it has.

    Args:
        tensor: of any kind.

    Example:
        >>> missing_values(torch.ones(2, device="meta"))
        'a tensor without values (device meta)'
    """
    if isinstance(tensor, UninitializedParameter | UninitializedBuffer):
        return "a layer whose weights have no shape yet"
    return "a tensor without values (device meta)" if tensor.is_meta else None


def tensor_parts(tensor: Tensor) -> list[bytes | memoryview | Tensor]:
    """Return a tensor as bytes (type, shape, values) and the tensors inside it.

    Args:
        tensor: with values; its device and its layout in memory are left out.
    """
    tensor = tensor.detach()
    about = f"tensor {tensor.dtype} {tuple(tensor.shape)}".encode()
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if type(tensor) not in PLAIN_TENSORS and flatten is not None:
        names, context = flatten()
        kind = repr((type(tensor).__qualname__, names, context)).encode()
        return [about, kind, *(getattr(tensor, name) for name in names)]
    if tensor.is_sparse:
        whole = tensor.coalesce()
        return [about, whole.indices(), whole.values()]
    if tensor.layout != torch.strided:
        return [about, tensor.to_dense()]
    if tensor.is_quantized:
        return [about, tensor.int_repr(), tensor.dequantize()]
    data = tensor.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return [about, data.view(torch.uint8).numpy().data if data.numel() else b""]


def hooks_of(module: nn.Module) -> list[Any]:
    """Return a module's hooks in the order of their calls.

    Their keys, which count up in a process, are left out.

    Args:
        module: any module.
    """
    found: list[Any] = []
    for name in HOOK_TABLES:
        takes_keywords = getattr(module, f"{name}_with_kwargs", {})
        for key, hook in getattr(module, name, {}).items():
            found.append((name, key in takes_keywords, hook))
    return found


def script_parts(module: torch.jit.ScriptModule) -> list[bytes]:
    """Return the files of a TorchScript archive: code, constants, weights.

    Args:
        module: its source lines and counted class names are left out.
    """
    with zipfile.ZipFile(io.BytesIO(module.save_to_buffer())) as archive:
        names = [name for name in archive.namelist() if not name.endswith(VARYING_FILES)]
        parts = sorted(
            (_settled(name.partition("/")[2].encode()), _settled(archive.read(name)))
            for name in names
        )
    return [token for part in parts for token in part]


def _settled(content: bytes) -> bytes:
    """Remove what differs between processes: counted class names, the order of constants."""
    lines = re.sub(rb"[./]___torch_mangle_\d+", b"", content).split(b"\n")
    constants = [line for line in lines if b" : Final[" in line]
    return b"\n".join([*(line for line in lines if b" : Final[" not in line), *sorted(constants)])


def unwrap(value: Any) -> Any:
    """Return what is inside ``torch.compile`` or ``DataParallel``; any other object unchanged.

    Both give the same logits as what is inside.

    Args:
        value: any object.
    """
    kind = type(value)
    if kind.__name__ == "OptimizedModule" and kind.__module__.startswith("torch._dynamo"):
        return unwrap(value._orig_mod)
    if isinstance(value, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return unwrap(value.module)
    if not isinstance(value, FunctionType):
        return value
    compiled = getattr(value, "_torchdynamo_orig_callable", None)
    return value if compiled is None else unwrap(compiled)

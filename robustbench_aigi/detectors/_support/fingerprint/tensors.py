"""What a fingerprint takes of torch's own objects: tensors, hooks, TorchScript."""

import io
import re
import zipfile
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
PLAIN = (Tensor, nn.Parameter, nn.Buffer)


def tensor_parts(tensor: Tensor) -> list[bytes | memoryview | Tensor] | str:
    """A tensor as bytes (type, shape, values) and the tensors inside it; in words if it has no
    values.

    Device and layout in memory are left out.
    """
    if isinstance(tensor, UninitializedParameter | UninitializedBuffer):
        return "a layer whose weights have no shape yet"
    if tensor.is_meta:
        return "a tensor without values (device meta)"
    tensor = tensor.detach()
    about = f"tensor {tensor.dtype} {tuple(tensor.shape)}".encode()
    flat = getattr(tensor, "__tensor_flatten__", None)
    if type(tensor) not in PLAIN and flat is not None:
        names, context = flat()
        return [
            about,
            repr((type(tensor).__qualname__, names, context)).encode(),
            *(getattr(tensor, n) for n in names),
        ]
    if tensor.is_sparse:
        whole = tensor.coalesce()
        return [about, whole.indices(), whole.values()]
    if tensor.layout != torch.strided:
        return [about, tensor.to_dense()]
    if tensor.is_quantized:
        return [about, tensor.int_repr(), tensor.dequantize()]
    data = tensor.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return [about, data.view(torch.uint8).numpy().data if data.numel() else b""]


def hooks(module: nn.Module) -> list[Any]:
    """A module's hooks in the order of their calls; their keys, which count up in a process, are
    left out.
    """
    found: list[Any] = []
    for name in HOOKS:
        for key, hook in getattr(module, name, {}).items():
            found.append((name, key in getattr(module, f"{name}_with_kwargs", {}), hook))
    return found


def scripted(module: torch.jit.ScriptModule) -> list[bytes]:
    """The files of a TorchScript archive: code, constants, weights; without source lines and
    counted class names.
    """
    with zipfile.ZipFile(io.BytesIO(module.save_to_buffer())) as archive:
        kept = [
            n
            for n in archive.namelist()
            if not n.endswith((".debug_pkl", "serialization_id", "/version"))
        ]
        parts = sorted(
            (_settled(name.partition("/")[2].encode()), _settled(archive.read(name)))
            for name in kept
        )
    return [token for part in parts for token in part]


def _settled(content: bytes) -> bytes:
    """A file of an archive without what differs between processes: counted class names, the order
    of constants.
    """
    lines = re.sub(rb"[./]___torch_mangle_\d+", b"", content).split(b"\n")
    constants = [line for line in lines if b" : Final[" in line]
    return b"\n".join([*(line for line in lines if b" : Final[" not in line), *sorted(constants)])


def unwrapped(value: Any) -> Any:
    """What is inside ``torch.compile`` and ``DataParallel``, which give the same logits; anything
    else as it is.
    """
    kind = type(value)
    if kind.__name__ == "OptimizedModule" and kind.__module__.startswith("torch._dynamo"):
        return unwrapped(value._orig_mod)
    if isinstance(value, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return unwrapped(value.module)
    compiled = (
        getattr(value, "_torchdynamo_orig_callable", None)
        if isinstance(value, FunctionType)
        else None
    )
    return value if compiled is None else unwrapped(compiled)

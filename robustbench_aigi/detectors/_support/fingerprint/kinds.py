"""Kinds of values that a fingerprint treats alike, and attributes that it leaves out."""

import logging
import threading
import types
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

import numpy as np
import torch

CARD_FACTS = ("threshold", "gradient", "stochastic", "input_size", "cam")
"""Facts on a card that change a number of the detector; the others are words."""
MODULE_INTERNALS = frozenset(
    """
    training at_once channels_last half_gradients _is_full_backward_hook
    _non_persistent_buffers_set _compiled_call_impl _state_dict_hooks _state_dict_pre_hooks
    _load_state_dict_pre_hooks
    _load_state_dict_post_hooks _forward_hooks _forward_hooks_with_kwargs
    _forward_hooks_always_called _forward_pre_hooks _forward_pre_hooks_with_kwargs
    _backward_hooks _backward_pre_hooks _is_torch_compile
    """.split()
)
"""Attributes of a module that no logit depends on, or that ``hooks_of`` gives in another form."""
CONSTRUCTION_NOTES = frozenset({"__pydantic_fields_set__", "_use_default_values"})
"""Notes of pydantic and diffusers on how an object was built; their order differs by process."""
BY_REPR: tuple[type, ...] = (
    *(type(None), bool, int, float, complex, bytes, bytearray, range, slice),
    *(type(Ellipsis), type(NotImplemented)),
    *(date, time, timedelta, tzinfo, Decimal, Fraction, UUID),
    *(torch.dtype, torch.layout, torch.memory_format),
)
"""Types whose ``repr`` is all that they hold."""
WITHOUT_STATE = (
    type(threading.Lock()),
    type(threading.RLock()),
    logging.Logger,
    logging.LoggerAdapter,
    torch.device,
)
"""Types whose state no logit depends on."""
BY_NAME = (
    types.BuiltinFunctionType,
    types.MethodWrapperType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    np.ufunc,
)
"""Types written in C, of which only the name can be hashed."""
ITERATOR_TYPES = (types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType)
"""Types whose state cannot be read without changing it."""

"""A training step as one compiled program, which is kept on disk and serves every number of members."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from lemmata.lab.cache import folder

__all__ = ["compiled"]


def compiled(step: Callable, lr_E: Tensor) -> Callable:
    """A step, or a part of one, of E members with these learning rates, compiled when it is first taken.

    The program is the same whatever E is, but for E = 1, since chunks differ in it and members leave. Tensors of the
    arguments have the members first, or are not of the members.
    """
    torch._dynamo.config.trace_autograd_ops = True
    # Otherwise the ninth shape that a worker meets would be trained eagerly.
    torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit = 1024
    # Otherwise another kind of network would make all sizes of this one variable, and not only E.
    torch._dynamo.config.automatic_dynamic_shapes = False
    # Read when the first program is compiled: a folder of the user's own, and not one that everybody can write to.
    kept = folder() / "compiled"
    with suppress(OSError):  # torch says what it cannot write
        kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(kept))
    program, marked = torch.compile(step), False

    def run(*args: Any) -> Any:
        nonlocal marked
        if not marked:  # the marks are read where something is compiled, which is at the first step
            for t in _tensors((*args, lr_E)):
                if t.dim() and len(t) == len(lr_E):
                    torch._dynamo.maybe_mark_dynamic(t, 0)
            marked = True
        return program(*args)

    return run


def _tensors(of: object) -> Iterator[Tensor]:
    """Those in dataclasses, tuples, lists and mappings, however deep."""
    if isinstance(of, Tensor):
        yield of
    elif is_dataclass(of):
        yield from _tensors([getattr(of, f.name) for f in fields(of)])
    elif isinstance(of, (tuple, list)):
        yield from (t for each in of for t in _tensors(each))
    elif isinstance(of, Mapping):
        yield from _tensors(list(of.values()))

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
    """A step, or a part of one, whose first argument are parameters; compiled when it is first taken.

    The program is the same for every number of members but one, since chunks differ in it and members leave. `lr_E` is
    what the step knows of the members besides. Tensors have the members first, or are not of the members.
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
    program = torch.compile(step)
    met: set[tuple[torch.Size, ...]] = set()

    def run(params: Mapping[str, Tensor], *others: Any) -> Any:
        tensors = [*_tensors((params, *others)), lr_E]
        shapes = tuple(t.shape for t in tensors)
        if shapes not in met:  # the marks are read where something is compiled
            met.add(shapes)
            members = len(next(iter(params.values())))
            for t in tensors:
                if t.dim() and len(t) == members:
                    torch._dynamo.maybe_mark_dynamic(t, 0)
        return program(params, *others)

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

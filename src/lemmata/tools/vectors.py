"""Task vectors: what a fine-tuning adds to a base, read in slices.

    symbol     meaning
    Psi^(0)    the base: the weights that every fine-tuning started from
    Psi*_i     the weights after fine-tuning on task i
    Delta_i    the task vector Psi*_i - Psi^(0), for each tensor; of a LoRA adapter the product of its factors

A vector is matched with its base before any weight is added: the same names, the same shapes, and where layers are
tied, one Delta for all copies of a weight.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Literal, Protocol, final

import numpy as np

from lemmata.lab.errors import DataError
from lemmata.tools.checkpoint import Checkpoint, Tensor, listed

__all__ = [
    "SLICE",
    "Delta",
    "Difference",
    "Vector",
    "copies",
    "difference",
    "same",
    "shapes_must_agree",
    "slices",
    "tied",
]

# Elements in memory at once; each takes 8 bytes an array.
SLICE = 1 << 20
# Elements by which two tensors are told apart before all of them are compared.
GLANCE = 1 << 10


class Delta(Protocol):
    """What is added to one tensor."""

    @property
    def shape(self) -> tuple[int, ...]:
        """As the tensor's."""
        ...

    def read(self, start: int, stop: int) -> np.ndarray:
        """Elements start ... stop - 1 in float64, in row-major order."""
        ...


@final
@dataclass(frozen=True)
class Difference:
    """Psi* - Psi^(0) of a tensor that was fine-tuned as a whole."""

    tuned: Tensor
    base: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """As the tensor's."""
        return self.base.shape

    def read(self, start: int, stop: int) -> np.ndarray:
        """Elements start ... stop - 1, in row-major order."""
        return self.tuned.read(start, stop) - self.base.read(start, stop)


@final
@dataclass(frozen=True, eq=False)
class Vector:
    """A task vector: what it adds to each tensor of the base that it changes.

    buffers: tensors of whole numbers in which the fine-tuning differs from the base.
    dtypes: of the tensors it was read from.
    """

    path: Path
    label: str
    kind: Literal["weights", "adapter"]
    deltas: Mapping[str, Delta]
    dtypes: tuple[str, ...]
    buffers: tuple[str, ...] = ()


def difference(base: Checkpoint, tuned: Checkpoint) -> Vector:
    """The task vector of a fine-tuned checkpoint.

    Whole numbers (counters, masks) are no weights: they stay as they are in the base, and what differs is named. Where
    an output layer is tied to the embedding, one of the two may hold the copy that the other leaves out.

    Raises:
        DataError: other names or other shapes than the base has.
    """
    weights = {name: tensor for name, tensor in base.tensors.items() if tensor.floating}
    found = {name: tensor for name, tensor in tuned.tensors.items() if tensor.floating or name in weights}
    missing, extra = weights.keys() - found.keys(), found.keys() - weights.keys()
    if base.tied or tuned.tied:
        extra = {name for name in extra if not _twin(name, tuned, weights)}
        for name in sorted(missing):
            if twin := _twin(name, base, found):
                found[name] = tuned.tensors[twin]
                missing.remove(name)
    if missing or extra:
        parts = [f"without {listed(sorted(missing))}"] if missing else []
        parts += [f"with {listed(sorted(extra))} besides"] if extra else []
        fix = "name the base that it was fine-tuned from, saved in the same way"
        raise DataError(f"the tensors of {base.path} in {tuned.path}", f"it {' and '.join(parts)}", fix)
    shapes_must_agree({name: found[name].shape for name in weights}, base, tuned.path)
    if odd := sorted(name for name in weights if not found[name].floating):
        got = listed(f"{name} in {found[name].dtype}" for name in odd)
        raise DataError(f"{tuned.path}: weights in a floating-point dtype", got, "use the unquantised checkpoint")
    return Vector(
        tuned.path,
        tuned.label,
        "weights",
        {name: Difference(found[name], tensor) for name, tensor in weights.items()},
        tuple(sorted({found[name].dtype for name in weights})),
        tuple(sorted(_buffers(base, tuned))),
    )


def shapes_must_agree(shapes: Mapping[str, tuple[int, ...]], base: Checkpoint, path: Path) -> None:
    """Refuse other shapes than those of the base.

    Raises:
        DataError: there are some; the message lists them.
    """
    odd = [name for name, shape in shapes.items() if shape != base.tensors[name].shape]
    if odd:
        got = listed(f"{name} {list(shapes[name])} in place of {list(base.tensors[name].shape)}" for name in odd)
        fix = "name the base that it was fine-tuned from, with the same vocabulary and sizes"
        raise DataError(f"{path}: the shapes of {base.path}", got, fix)


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same bytes."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return all(np.array_equal(one.raw(a, b), other.raw(a, b)) for a, b in slices(one.shape))


def slices(shape: tuple[int, ...], most: int = SLICE, *, whole_rows: bool = False) -> Iterator[tuple[int, int]]:
    """Where to cut a tensor: start and stop of parts of so many elements at most, along rows where they fit.

    >>> list(slices((5, 4), 9))
    [(0, 8), (8, 16), (16, 20)]
    >>> list(slices((2, 8), 5)), list(slices((2, 8), 5, whole_rows=True))
    ([(0, 5), (5, 10), (10, 15), (15, 16)], [(0, 8), (8, 16)])
    """
    size = math.prod(shape)
    row = math.prod(shape[1:]) if size else 1
    step = max(most // row, 1) * row if row <= most or whole_rows else most
    for start in range(0, size, step):
        yield start, min(start + step, size)


def copies(checkpoint: Checkpoint) -> dict[str, str]:
    """Where a configuration ties layers: each weight that is a copy of one before it in the files, and that one."""
    found: dict[str, str] = {}
    alike: dict[object, list[Tensor]] = {}
    for tensor in checkpoint.tensors.values() if checkpoint.tied else ():
        if _may_have_a_copy(tensor):
            key = (tensor.dtype, tensor.shape, tensor.raw(0, min(GLANCE, tensor.size)).tobytes())
            others = alike.setdefault(key, [])
            if first := next((other for other in others if same(other, tensor)), None):
                found[tensor.name] = first.name
            else:
                others.append(tensor)
    return found


def tied(vector: Vector, base: Checkpoint, twins: Mapping[str, str]) -> Vector:
    """The vector with one Delta for all copies of a weight of its base; `twins` are the base's `copies`.

    Raises:
        DataError: it changes the copies in different ways.
    """
    deltas = dict(vector.deltas)
    for name, first in twins.items():
        if name in deltas:
            deltas.setdefault(first, deltas[name])
    for name, first in twins.items():
        ours, theirs = deltas.get(name), deltas.get(first)
        if ours is not None and theirs is not None and not _equal(ours, theirs):
            got = f"other weights of {name} than of {first} in {vector.path}"
            fix = "fine-tune with tied weights, or untie the base and its config.json"
            raise DataError(f"copies of one weight, which {base.path} ties", got, fix)
        if theirs is not None:
            deltas[name] = theirs
    return replace(vector, deltas=deltas)


def _equal(one: Delta, other: Delta) -> bool:
    """Whether two Deltas of the same weight are the same."""
    if one is other:
        return True
    return isinstance(one, Difference) and isinstance(other, Difference) and same(one.tuned, other.tuned)


def _twin(name: str, holder: Checkpoint, others: Mapping[str, Tensor]) -> str | None:
    """The tensor of a checkpoint, among others that both have, of which this one is a copy."""
    tensor = holder.tensors[name]
    if not _may_have_a_copy(tensor):
        return None
    held = (other for other in others if other != name and other in holder.tensors)
    return next((other for other in held if same(tensor, holder.tensors[other])), None)


def _may_have_a_copy(tensor: Tensor) -> bool:
    """Whether it is a matrix of weights that are not all equal, as they may be by chance where training starts."""
    if not tensor.floating or len(tensor.shape) != 2 or not tensor.size:
        return False
    first = tensor.raw(0, 1).tobytes()
    parts = chain([(0, min(GLANCE, tensor.size))], slices(tensor.shape))
    return any(tensor.raw(a, b).tobytes() != first * (b - a) for a, b in parts)


def _buffers(base: Checkpoint, tuned: Checkpoint) -> Iterator[str]:
    """Tensors of whole numbers that are not the same in both."""
    for name in base.tensors.keys() | tuned.tensors.keys():
        ours, theirs = base.tensors.get(name), tuned.tensors.get(name)
        whole = [tensor for tensor in (ours, theirs) if tensor and not tensor.floating]
        if whole and not (ours and theirs and same(ours, theirs)):
            yield name

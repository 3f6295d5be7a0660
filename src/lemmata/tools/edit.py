"""Model editing with task vectors, on checkpoints of one's own: Li et al., ICLR 2025.

    symbol      meaning
    Psi^(0)     the base
    Delta_i     the task vector of fine-tuning i, or what a recipe keeps of it
    lambda_i    its coefficient; below 0 the task is to be forgotten
    Psi         Psi^(0) + sum_i lambda_i Delta_i, the edited model

The sum is taken in float64, in slices of rows that go from the input files to the output files, and is rounded once, to
the dtype of the base. What is in memory does not depend on the size of the checkpoints: a few slices of 8 MB, with
--ties one for each vector in proportion smaller; --rank states its own bound, and an adapter holds the factors of one
module. What is written is there whole or not at all.

Source: Theorems 1 and 2, Corollaries 1 and 2 of arXiv 2504.10957.
"""

from __future__ import annotations

import math
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np

from lemmata.lab.errors import DataError, InputError
from lemmata.tools.adapter import is_adapter, open_adapter
from lemmata.tools.card import Entry, card
from lemmata.tools.checkpoint import Checkpoint, Tensor, listed, open_checkpoint
from lemmata.tools.formats import OTHERS, WEIGHTS
from lemmata.tools.recipes import Recipe, Step, elected
from lemmata.tools.vectors import SLICE, Delta, Difference, Vector, copies, difference, slices, tied
from lemmata.tools.writer import CARD, check_folder, check_space, encoded, new_folder, sharded, write_index

if TYPE_CHECKING:
    from lemmata.lab.sweep import Progress

__all__ = ["SHARD", "Added", "Edited", "edit", "open_vector"]

# Bytes of a file of the output, at most.
SHARD = 2_000_000_000
# Files beside the weights are copied up to this size, if they are no weights in another form.
SMALL = 64_000_000
# The number of a vector, its coefficient, its Delta of the tensor at hand, and what is kept of that.
Term = tuple[int, float, Delta, Step]


@final
@dataclass(frozen=True, kw_only=True)
class Added:
    """A task vector as it was added.

    norm: of Delta_i, the Frobenius norm over all tensors. kept: the share of its square that the recipe kept, before
    DARE scales it up.
    changed: tensors in which it is not zero. buffers: tensors of whole numbers that differ from the base's, which stay.
    """

    path: Path
    label: str
    kind: str
    coefficient: float
    dtypes: tuple[str, ...]
    norm: float
    kept: float
    changed: int
    buffers: tuple[str, ...]


@final
@dataclass(frozen=True, kw_only=True)
class Edited:
    """What was written, and from what.

    parameters: elements of tensors that hold weights. dtypes: how many tensors there are of each. files: with weights.
    copied, left_out: the other files of the base's folder. claims: those that the recipe rests on.
    """

    output: Path
    base: Path
    vectors: tuple[Added, ...]
    recipe: Recipe
    tensors: int
    parameters: int
    bytes: int
    dtypes: dict[str, int]
    files: tuple[str, ...]
    copied: tuple[str, ...]
    left_out: tuple[str, ...]
    claims: tuple[str, ...]


def edit(
    base: Path | str,
    vectors: Sequence[tuple[Path | str, float]],
    output: Path | str,
    *,
    recipe: Recipe | None = None,
    shard_size: int = SHARD,
    force: bool = False,
    progress: Progress | None = None,
) -> Edited:
    """Write Psi^(0) + sum_i lambda_i Delta_i as a new folder.

    `base` is a safetensors file or a Hugging Face folder. A vector is such a file or folder of a fine-tuning of it, or
    a LoRA adapter of it, with its coefficient. `progress` is told how many megabytes of how many are written.

    Raises:
        InputError: no vector, a coefficient that is no number, no checkpoint where one is meant, or a pickle file.
        DataError: tensors that do not match the base's, damaged files, weights or sums that are not finite.
        OutputError: a folder that cannot be written, is there already (`force`), or holds or lies in an input.

    Source: arXiv 2504.10957.
    """
    recipe, output = recipe or Recipe(), Path(output)
    if not vectors:
        raise InputError("a task vector to add or to subtract", "none", "pass --add FINETUNED or --subtract FINETUNED")
    for path, coefficient in vectors:
        if not math.isfinite(coefficient):
            raise InputError(f"a finite coefficient for {path}", str(coefficient), f"for example {path}:0.8")
    if shard_size < 1:
        raise InputError("a shard size above 0", str(shard_size), "leave it out for 2 GB")
    start = open_checkpoint(base)
    twins = copies(start)
    opened = [(tied(open_vector(start, path), start, twins), coefficient) for path, coefficient in vectors]
    check_folder(output, [start.path, *(vector.path for vector, _ in opened)], force=force)
    shards = sharded(list(start.tensors.values()), shard_size)
    size = sum(tensor.nbytes for tensor in start.tensors.values())
    copied, left_out = _beside(start.folder, start.files) if start.folder else ([], [])
    check_space(output, size + sum((start.path / name).stat().st_size for name in copied))
    sums = _Sums(twins, opened, recipe, _Told(progress, size))
    with new_folder(output, force=force) as folder:
        for shard in shards:
            shard.write(folder, start.metadata, (part for tensor in shard.tensors for part in sums.of(tensor)))
        write_index(folder, shards)
        for name in copied:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(start.path / name, folder / name)
        entries = [Entry(v.label, v.kind, coefficient) for v, coefficient in opened]
        text, claims = card(start, entries, recipe)
        (folder / CARD).write_bytes(text.encode("utf-8", "replace"))
    return Edited(
        output=output,
        base=start.path,
        vectors=tuple(sums.added()),
        recipe=recipe,
        tensors=len(start.tensors),
        parameters=sum(tensor.size for tensor in start.tensors.values() if tensor.floating),
        bytes=size,
        dtypes=dict(sorted(Counter(tensor.dtype for tensor in start.tensors.values()).items())),
        files=tuple(shard.name for shard in shards),
        copied=tuple(copied),
        left_out=tuple(left_out),
        claims=claims,
    )


def open_vector(base: Checkpoint, path: Path | str) -> Vector:
    """The task vector of a fine-tuned checkpoint or of a LoRA adapter, matched with its base.

    Raises:
        InputError: no checkpoint and no adapter, or a kind that cannot be added.
        DataError: tensors that do not match the base's.
    """
    path = Path(path)
    if is_adapter(path):
        return open_adapter(base, path)
    tuned = open_checkpoint(path)
    if factors := [name for name in tuned.tensors if ".lora_A." in name]:
        got = f"{path} with {listed(factors[:1])}, a factor of an adapter"
        raise InputError("a checkpoint, or an adapter's folder with adapter_config.json", got, "name the whole folder")
    return difference(base, tuned)


def _beside(folder: Path, read: Sequence[Path]) -> tuple[list[str], list[str]]:
    """The files that are copied along with the weights that were read, and those that are not.

    Hidden ones are not mentioned, nor an index of weights, which is written anew.
    """
    copied, left_out = [], []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if not path.is_file() or any(part.startswith(".") for part in name.parts):
            continue
        index = path.name.endswith(tuple(f"{suffix}.index.json" for suffix in (WEIGHTS, *OTHERS)))
        if path in read or index or str(name) == CARD:
            continue
        small = path.suffix not in (WEIGHTS, *OTHERS) and path.stat().st_size <= SMALL
        (copied if small else left_out).append(str(name))
    return copied, left_out


@final
class _Told:
    """Counts bytes, and tells of megabytes."""

    def __init__(self, progress: Progress | None, size: int) -> None:
        self._progress, self._size, self._done = progress, size, 0
        self._began = time.monotonic()

    def more(self, count: int) -> None:
        """So many bytes more."""
        self._done += count
        if self._progress:
            rest = (time.monotonic() - self._began) * (self._size - self._done) / max(self._done, 1)
            self._progress(round(self._done / 1e6), round(self._size / 1e6), rest)


@final
class _Sums:
    """The edited tensors, in slices, and what is seen of the vectors on the way."""

    def __init__(
        self, twins: Mapping[str, str], vectors: Sequence[tuple[Vector, float]], recipe: Recipe, told: _Told
    ) -> None:
        self._twins, self._vectors, self._recipe, self._told = twins, vectors, recipe, told
        self._squares, self._kept = np.zeros(len(vectors)), np.zeros(len(vectors))
        self._changed = [set[str]() for _ in vectors]

    def of(self, tensor: Tensor) -> Iterator[bytes]:
        """The bytes of a tensor of the output, a slice at a time."""
        # What is dropped at random is the same in all copies of a weight.
        drawn_by = self._twins.get(tensor.name, tensor.name)
        terms: list[Term] = [
            (i, coefficient, delta, self._recipe.step(delta, drawn_by, i + 1))
            for i, (vector, coefficient) in enumerate(self._vectors)
            if (delta := vector.deltas.get(tensor.name)) is not None
        ]
        most = SLICE // len(terms) if terms and self._recipe.ties is not None else SLICE
        for start, stop in slices(tensor.shape, most, whole_rows=self._recipe.whole_rows):
            part = self._part(tensor, terms, start, stop) if tensor.floating else tensor.raw(start, stop).tobytes()
            yield part
            self._told.more(len(part))

    def _part(self, tensor: Tensor, terms: Sequence[Term], start: int, stop: int) -> bytes:
        """A slice of the sum."""
        with np.errstate(over="ignore", invalid="ignore"):  # seen where the sum is encoded
            return self._summed(tensor, terms, start, stop)

    def _summed(self, tensor: Tensor, terms: Sequence[Term], start: int, stop: int) -> bytes:
        base = tensor.read(start, stop)
        changes = (self._change(term, tensor.name, base, start, stop) for term in terms)
        if terms and self._recipe.ties is not None:
            return encoded(base + elected(list(changes)), tensor)
        total = base
        for change in changes:
            total = total + change
        return encoded(total, tensor)

    def _change(self, term: Term, name: str, base: np.ndarray, start: int, stop: int) -> np.ndarray:
        """A slice of lambda_i Delta_i, beside the same slice of the base."""
        i, coefficient, delta, step = term
        # The base is at hand already.
        whole = delta.tuned.read(start, stop) - base if isinstance(delta, Difference) else delta.read(start, stop)
        kept = step(whole, start)
        self._squares[i] += (square := whole @ whole)
        self._kept[i] += square if kept is whole else kept @ kept
        if not np.isfinite([self._squares[i], self._kept[i]]).all():
            got = f"up to {np.abs(whole).max():.3g} in {name}"
            raise DataError("changes whose squares float64 can hold", got, "use a checkpoint from before it diverged")
        if name not in self._changed[i] and whole.any():
            self._changed[i].add(name)
        return coefficient * kept

    def added(self) -> Iterator[Added]:
        """The vectors as they were added, once all tensors are written."""
        unscaled = (1 - (self._recipe.dare or 0)) ** 2
        for i, (vector, coefficient) in enumerate(self._vectors):
            yield Added(
                path=vector.path,
                label=vector.label,
                kind=vector.kind,
                coefficient=coefficient,
                dtypes=vector.dtypes,
                norm=math.sqrt(self._squares[i]),
                kept=float(self._kept[i] / self._squares[i]) * unscaled if self._squares[i] else 1.0,
                changed=len(self._changed[i]),
                buffers=vector.buffers,
            )

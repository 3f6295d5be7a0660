"""Writing a checkpoint as a stream, into a folder that is there whole or not at all.

Sizes are decided ahead, bytes are written as they come. The folder is filled under a temporary name beside its own and
renamed at the end, so that whatever ends the program leaves what was there before.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import final

import numpy as np

from lemmata.lab.errors import DataError, OutputError
from lemmata.tools.checkpoint import INDEX, SINGLE, SIZES, Tensor

__all__ = ["CARD", "MARK", "Shard", "check_folder", "check_space", "encoded", "new_folder", "sharded", "write_index"]

# In the front matter of the card of every folder that is written here: only such a folder is ever replaced.
MARK = "lemmata-edit"
CARD = "README.md"
# Left free on the disk beside the weights.
SPARE = 16_000_000


def encoded(values: np.ndarray, tensor: Tensor) -> bytes:
    """Float64 rounded to the tensor's dtype, once, to the nearest and from a tie to the even.

    Raises:
        DataError: a value that the dtype cannot hold.
    """
    with np.errstate(over="ignore"):
        if tensor.dtype == "BF16":
            bits = _bfloat16(values)
            fits = bool(((bits & 0x7F80) != 0x7F80).all())
        else:
            bits = values.astype({"F16": "<f2", "F32": "<f4", "F64": "<f8"}[tensor.dtype], copy=False)
            fits = bool(np.isfinite(bits).all())
    if not fits:
        got = f"up to {np.abs(values).max():.3g} in {tensor.name}"
        raise DataError(f"sums that {tensor.dtype} can hold", got, "take smaller coefficients, or a base in float32")
    return bits.tobytes()


def _bfloat16(values: np.ndarray) -> np.ndarray:
    """The upper half of float32. Float32 is rounded to odd first, so that the second rounding sees the first."""
    single = values.astype("<f4")
    bits = single.view("<u4")
    inexact = single.astype(np.float64) != values
    away = inexact & (np.abs(single.astype(np.float64)) > np.abs(values))
    bits = (bits - away) | inexact
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


@final
class Shard:
    """A safetensors file of tensors that are like these, written in their order from first to last."""

    def __init__(self, name: str, tensors: Iterable[Tensor]) -> None:
        """Tensors of wide elements come first, so that every tensor is aligned."""
        self.name = name
        self.tensors = sorted(tensors, key=lambda tensor: -SIZES[tensor.dtype])

    def write(self, folder: Path, metadata: Mapping[str, str], contents: Iterable[bytes]) -> None:
        """Write the header, and the bytes of all tensors after it.

        Raises:
            OSError: the disk is full, or the like.
        """
        header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
        begin = 0
        for tensor in self.tensors:
            end = begin + tensor.nbytes
            header[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [begin, end]}
            begin = end
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)
        with open(folder / self.name, "xb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for content in contents:
                file.write(content)
            assert file.tell() == 8 + len(text) + begin


def sharded(tensors: Sequence[Tensor], shard_size: int) -> list[Shard]:
    """The tensors in their order in as few files of at most this many bytes; a larger tensor has a file of its own."""
    groups: list[list[Tensor]] = [[]]
    filled = 0
    for tensor in tensors:
        if groups[-1] and filled + tensor.nbytes > shard_size:
            groups.append([])
            filled = 0
        groups[-1].append(tensor)
        filled += tensor.nbytes
    if len(groups) == 1:
        return [Shard(SINGLE, groups[0])]
    return [Shard(f"model-{i:05}-of-{len(groups):05}.safetensors", group) for i, group in enumerate(groups, start=1)]


def write_index(folder: Path, shards: Sequence[Shard]) -> None:
    """Say which shard holds which tensor, where there is more than one."""
    if len(shards) > 1:
        where = {tensor.name: shard.name for shard in shards for tensor in shard.tensors}
        total = sum(tensor.nbytes for shard in shards for tensor in shard.tensors)
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def check_folder(output: Path, inputs: Iterable[Path], *, force: bool) -> None:
    """Refuse, before any work is done, a folder that could not be written at the end of it.

    Raises:
        OutputError: no folder to make it in, something there already, or an input in it or around it.
    """
    if output.suffix == ".safetensors":
        raise OutputError("a folder to write", str(output), f"name a folder, as {output.with_suffix('')}")
    if not output.resolve().parent.is_dir():
        raise OutputError("an output folder in a folder that exists", str(output), f"make {output.parent}")
    for given in inputs:
        ours, theirs = output.resolve(), given.resolve()
        if ours == theirs or ours in theirs.parents or theirs in ours.parents:
            got = f"{output}, where the input {given} lies" if ours != theirs else f"{output}, an input"
            raise OutputError("an output folder apart from the inputs", got, "choose another folder")
    if not os.path.lexists(output):
        return
    if not force:
        raise OutputError("an output folder that is not there yet", str(output), "pass --force to replace it")
    if output.is_symlink() or not output.is_dir() or not _replaceable(output):
        fix = "choose another folder, or remove this one yourself"
        raise OutputError("for --force a folder that lemmata edit wrote", f"{output}, which is none", fix)


def _replaceable(folder: Path) -> bool:
    """Whether it is empty, or its card says in its front matter that it was written here."""
    if not any(folder.iterdir()):
        return True
    card = folder / CARD
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    start, front, _ = (*text.split("---\n", 2), "", "")[:3]
    return not start and f"- {MARK}" in front.splitlines()


def check_space(output: Path, needed: int) -> None:
    """Refuse what the disk cannot hold.

    Raises:
        OutputError: less is free than the new folder takes; an old one is replaced at the end only.
    """
    free = shutil.disk_usage(output.resolve().parent).free
    if free < needed + SPARE:
        got = f"{free / 1e9:.1f} GB on the disk of {output}"
        raise OutputError(f"{needed / 1e9:.1f} GB of free space", got, "free some space, or choose another disk")


@contextmanager
def new_folder(output: Path, *, force: bool) -> Iterator[Path]:
    """A temporary folder beside the output, which takes its name when all is well and is removed when not.

    What had the name is kept until then, and brought back if the renaming fails; without `force` it stays.

    Raises:
        OutputError: it cannot be written to, the disk is full, or somebody else made the output meanwhile.
    """
    output = output.resolve()
    hidden = output.with_name(f".{output.name[:40]}.{uuid.uuid4().hex}.tmp")
    try:
        hidden.mkdir()
        yield hidden
        for path in [*hidden.rglob("*"), hidden]:
            _sync(path)
        _swap(hidden, output, force)
    except OSError as error:
        ours = error.filename is None or Path(error.filename).is_relative_to(hidden)
        got = f"{output if ours else error.filename}: {error.strerror or error}"
        raise OutputError("an output folder that can be written", got, "choose another folder or disk") from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _swap(new: Path, output: Path, force: bool) -> None:
    """Give the new folder its name, which without `force` is refused where there is another with something in it."""
    old = output.with_name(f".{output.name[:40]}.{uuid.uuid4().hex}.old")
    try:
        if force and os.path.lexists(output):
            output.rename(old)
        new.rename(output)
    except BaseException:
        if os.path.lexists(old) and not os.path.lexists(output):
            old.rename(output)
        raise
    with suppress(OSError):
        _sync(output.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(path: Path) -> None:
    """Make a file, or the entries of a folder, outlast a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

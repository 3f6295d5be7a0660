"""Checkpoints as they lie on disk: safetensors files and Hugging Face folders, read in slices.

A tensor is read from its file a slice at a time, into memory of its own: a file is never mapped, so that what a reader
holds is what it asked for.

Layout of a safetensors file: 8 bytes, the length of the header (little-endian); the header in JSON, which gives each
tensor its dtype, its shape and its place; then the tensors' bytes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np

from lemmata.lab.errors import DataError, InputError
from lemmata.tools.formats import WEIGHTS, refuse_other, refuse_pickles, refuse_quantised

__all__ = [
    "ADAPTER",
    "CONFIG",
    "FLOATS",
    "INDEX",
    "SINGLE",
    "SIZES",
    "Checkpoint",
    "Tensor",
    "listed",
    "open_checkpoint",
    "read_header",
    "read_json",
]

SINGLE, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
ADAPTER = "adapter_config.json"
# Bytes of an element.
FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
WHOLE = {"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1}
SIZES = FLOATS | WHOLE
LONGEST_HEADER = 100_000_000
SHOWN = 10


@final
@dataclass(frozen=True)
class Tensor:
    """A tensor in a file: where it lies, and how to read some of it.

    Elements are counted in row-major order, whatever the shape.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    offset: int

    @property
    def size(self) -> int:
        """Its number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Its number of bytes."""
        return self.size * SIZES[self.dtype]

    @property
    def floating(self) -> bool:
        """Whether it holds weights, which can be added; a buffer of whole numbers cannot."""
        return self.dtype in FLOATS

    def raw(self, start: int, stop: int) -> np.ndarray:
        """The bytes of elements start ... stop - 1.

        Raises:
            DataError: the file ends before them: somebody changes it meanwhile.
        """
        itemsize = SIZES[self.dtype]
        found = np.empty((stop - start) * itemsize, np.uint8)
        room = found.data
        filled, fault = 0, "a file that ends before it"
        try:
            with open(self.file, "rb", buffering=0) as file:
                file.seek(self.offset + start * itemsize)
                while filled < len(found) and (count := file.readinto(room[filled:])):
                    filled += count
        except OSError as error:
            fault = error.strerror or str(error)
        if filled < len(found):
            raise DataError(f"all of {self.name} in {self.file}", fault, "copy the file again")
        return found

    def read(self, start: int, stop: int) -> np.ndarray:
        """Elements start ... stop - 1 in float64.

        Raises:
            DataError: an infinite or undefined one among them, or a file that ends before them.
        """
        raw = self.raw(start, stop)
        if self.dtype == "BF16":
            found = (raw.view("<u2").astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        elif self.dtype == "F16":
            # By way of float32, which is exact and many times faster.
            found = raw.view("<f2").astype(np.float32).astype(np.float64)
        else:
            found = raw.view({"F32": "<f4", "F64": "<f8"}[self.dtype]).astype(np.float64, copy=False)
        if not (finite := np.isfinite(found)).all():
            first = int(np.argmin(finite))
            at = [int(i) for i in np.unravel_index(start + first, self.shape)] if self.shape else []
            got = f"{found[first]} at {at} of {self.name} in {self.file}"
            raise DataError("finite weights", got, "use a checkpoint from before the training diverged")
        return found


@final
@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A checkpoint: its tensors by name, in the order of its files, and what lies beside them.

    path: as it was given. label: its name without the folders it lies in, fit to be published. folder: where its
    configuration lies, None for a single file. files: those that were read. metadata: of the first one's header.
    config: of config.json.
    """

    path: Path
    label: str
    folder: Path | None
    files: tuple[Path, ...]
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tied(self) -> bool:
        """Whether its configuration ties the output layer to the embedding."""
        nested = [value for value in self.config.values() if isinstance(value, dict)]
        return any(part.get("tie_word_embeddings") is True for part in [self.config, *nested])


def open_checkpoint(path: Path | str) -> Checkpoint:
    """Look into a safetensors file or a Hugging Face folder; no weights are read.

    Of a folder it is model.safetensors, or what its index names, or else every safetensors file in it.

    Raises:
        InputError: no such file or folder, no safetensors in it, a pickle file, or quantised weights.
        DataError: a damaged file, a missing shard, one tensor in two files, or a dtype that cannot be added.
    """
    path = Path(path)
    if not path.exists():
        fix = "name a .safetensors file or a Hugging Face folder; only a number may follow a colon: ft:0.6"
        raise InputError("a checkpoint", f"{path}, which does not exist", fix)
    if path.is_file():
        refuse_other(path)
        tensors, metadata = read_header(path)
        refuse_quantised(path, {}, (name for name, tensor in tensors.items() if not tensor.floating))
        return Checkpoint(path, path.name, None, (path,), tensors, metadata)
    if not path.is_dir():
        raise InputError("a file or a folder", f"{path}, which is neither", "name a .safetensors file or a folder")
    files = _files(path)
    tensors, metadata = {}, {}
    for i, file in enumerate(files):
        found, about = read_header(file)
        if both := sorted(tensors.keys() & found.keys()):
            got = f"{listed(both)} in {file.name} and in another"
            raise DataError(f"every tensor in one file of {path}", got, f"keep one model in {path}")
        tensors |= found
        metadata = about if i == 0 else metadata
    config = read_json(path / CONFIG) if (path / CONFIG).is_file() else {}
    refuse_quantised(path, config, (name for name, tensor in tensors.items() if not tensor.floating))
    return Checkpoint(path, _label(path), path, tuple(files), tensors, metadata, config)


def read_header(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file, in the order of their bytes, and the header's metadata.

    Raises:
        InputError: it cannot be opened.
        DataError: it is damaged or no safetensors file, or holds a dtype that cannot be added.
    """
    try:
        with open(file, "rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            text = opened.read(length) if length <= LONGEST_HEADER else b""
            end = opened.seek(0, 2)
    except OSError as error:
        raise InputError(
            "a safetensors file that can be read", f"{file}: {error.strerror}", "check its name"
        ) from error
    try:
        header = json.loads(text)
        metadata = header.pop("__metadata__", None) or {}
        places = {name: (*map(int, about["data_offsets"]),) for name, about in header.items()}
        shapes = {name: (*map(int, about["shape"]),) for name, about in header.items()}
        dtypes = {name: str(about["dtype"]) for name, about in header.items()}
        metadata = {str(key): str(value) for key, value in metadata.items()}
        "".join([*header, *metadata, *metadata.values()]).encode()  # half a character is no text
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        fix = "download or copy it again"
        raise DataError("a whole safetensors file", f"{file}, which has no header of one", fix) from error
    if odd := sorted(name for name, dtype in dtypes.items() if dtype not in SIZES):
        got = f"{file}: {listed(f'{name} in {dtypes[name]}' for name in odd)}"
        fix = "use the checkpoint from before it was quantised: quantised weights cannot be added"
        raise DataError(f"tensors in {', '.join(FLOATS)} or of whole numbers", got, fix)
    tensors, begin = {}, 0
    for name in sorted(places, key=lambda name: places[name]):
        tensor = Tensor(name, dtypes[name], shapes[name], file, 8 + length + begin)
        if places[name] != (begin, begin + tensor.nbytes) or min(tensor.shape, default=0) < 0:
            raise DataError(f"{file} without gaps", f"another place of {name}", "download or copy it again")
        tensors[name], begin = tensor, begin + tensor.nbytes
    if end != 8 + length + begin:
        got = f"{file} with {end} bytes in place of {8 + length + begin}"
        raise DataError("a whole safetensors file", got, "download or copy it again")
    return tensors, metadata


def read_json(file: Path) -> dict[str, Any]:
    """A JSON file that holds an object, or a DataError."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError("a JSON file", f"{file}: {error}", "download or copy it again") from error
    if not isinstance(found, dict):
        raise DataError(f"{file}: a JSON object", type(found).__name__, "download or copy it again")
    return found


def listed(names: Iterable[str]) -> str:
    """The first of them, and how many there are beside.

    >>> listed("abc")
    'a, b, c'
    >>> listed(map(str, range(12)))
    '0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more'
    """
    names = list(names)
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _files(folder: Path) -> list[Path]:
    """The files that hold a folder's weights."""
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if (folder / INDEX).is_file():
        return _indexed(folder)
    if (folder / ADAPTER).is_file():
        fix = "name the model it adapts as --base, and the adapter with --add or --subtract"
        raise InputError("a checkpoint with all of its weights", f"the adapter {folder}", fix)
    if files := sorted(file for file in folder.glob(f"*{WEIGHTS}") if not file.name.startswith(".")):
        return files
    refuse_pickles(folder)
    raise InputError(f"a folder with {SINGLE}", f"{folder}, which holds no {WEIGHTS} file", "name another folder")


def _indexed(folder: Path) -> list[Path]:
    """The shards that the index names, in the order of their names, each with the tensors it should hold."""
    index = read_json(folder / INDEX).get("weight_map")
    if not isinstance(index, dict) or not all(isinstance(name, str) for name in index.values()):
        raise DataError(f"{folder / INDEX}: a weight_map", "none", "download or copy it again")
    names = sorted(set(index.values()))
    outside = [name for name in names if Path(name).name != name]
    lacking = [name for name in names if not (folder / name).is_file()]
    if outside or lacking:
        raise DataError(f"every shard in {folder}", f"no {listed(outside or lacking)}", "download or copy it again")
    held = {name: read_header(folder / name)[0] for name in names}
    if absent := sorted(name for name, shard in index.items() if name not in held[shard]):
        got = f"none of {listed(absent)}"
        raise DataError(f"what {folder / INDEX} names in its shards", got, "download or copy it again")
    return [folder / name for name in names]


def _label(folder: Path) -> str:
    """The folder's own name; in a cache of the Hugging Face hub, that of the model."""
    whole = folder.resolve()
    if found := re.search(r"/models--(.+?)--(.+?)/snapshots/[0-9a-f]+$", str(whole)):
        return "/".join(found.groups())
    return whole.name

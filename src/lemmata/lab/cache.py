"""What takes long to compute and is a function of few things, kept as .npz files in the user's cache folder.

The name of a file ends in a hash of what its arrays are a function of, so that nothing in it can be out of date. A file
that is damaged, or not of the names asked for, is computed again; a folder that cannot be written to costs only time.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lemmata.lab.files import write_whole

__all__ = ["Arrays", "cached", "folder", "keep", "looked_up"]

Arrays = dict[str, NDArray]


def folder() -> Path:
    """Where results are kept: `LEMMATA_CACHE`, or lemmata in the folder that XDG_CACHE_HOME names, or ~/.cache.

    >>> folder().is_absolute()
    True
    """
    own = os.environ.get("LEMMATA_CACHE")
    return (
        Path(own).absolute() if own else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lemmata"
    )


def cached(name: str, arrays: Sequence[str], of: Mapping[str, str | int], compute: Callable[[], Arrays]) -> Arrays:
    """The arrays of these names that `compute` gives, which is run where they are not on disk.

    `of` is everything that they are a function of, a version of the computation among it.

    >>> import tempfile, unittest.mock
    >>> with tempfile.TemporaryDirectory() as new, unittest.mock.patch.dict(os.environ, LEMMATA_CACHE=new):
    ...     for value in (1, 2):
    ...         print(cached("squares", ["value"], {"upto": 3}, lambda: {"value": np.full(1, value)})["value"])
    [1]
    [1]
    """
    found = looked_up(name, arrays, of)
    if found is None:
        found = compute()
        keep(name, of, found)
    return found


def looked_up(name: str, arrays: Sequence[str], of: Mapping[str, str | int]) -> Arrays | None:
    """The same arrays if they are on disk; see `cached`.

    >>> looked_up("squares", ["value"], {"upto": -1}) is None
    True
    """
    path = _path(name, of)
    found = _read(path) if path else None
    return found if found is not None and set(found) == set(arrays) else None


def keep(name: str, of: Mapping[str, str | int], found: Arrays) -> None:
    """Put arrays where `cached` and `looked_up` find them, if that can be written to."""
    if path := _path(name, of):
        _write(path, found)


def _path(name: str, of: Mapping[str, str | int]) -> Path | None:
    """Where it is kept; nowhere for whoever has no home."""
    text = json.dumps(of, sort_keys=True, separators=(",", ":"))
    try:
        within = folder()
    except RuntimeError:
        return None
    return within / f"{name}-{hashlib.blake2b(text.encode(), digest_size=10).hexdigest()}.npz"


def _read(path: Path) -> Arrays | None:
    try:
        # Nothing pickled is read, whoever put the file there.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    # RuntimeError: a flipped bit says that it is encrypted, or of a version of zip that is not implemented.
    except (OSError, ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile):
        return None


def _write(path: Path, arrays: Arrays) -> None:
    content = io.BytesIO()
    np.savez(content, **arrays)  # pyright: ignore[reportArgumentType] - its flag allow_pickle is not among the names
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content.getvalue())
    except OSError:
        return

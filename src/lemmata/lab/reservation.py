"""Which cells a run is training right now, told to every other run on the same store.

A reservation is a POSIX record lock on one byte of one file, at an offset made from the cell's id.
The kernel takes it back when its process ends, however it ends, so there is no stale reservation to
clear. Record locks belong to a process and all fall when it closes any descriptor of the file, so a
process opens the file once, and closes it with the last of its reservations.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

__all__ = ["alone", "reserve"]


@final
@dataclass
class _File:
    """The one descriptor of a file in this process, and the offsets reserved through it."""

    descriptor: int
    offsets: set[int] = field(default_factory=set)


_files: dict[Path, _File] = {}
# Files of which this process holds the whole.
_whole: set[Path] = set()
_one_at_a_time = threading.Lock()


@contextmanager
def reserve(path: Path, ids: Sequence[str]) -> Iterator[set[str]]:
    """The ids (hexadecimal) that nobody else holds in this file, held until the end of the block.

    Never waits.

    Raises:
        OSError: the file cannot be made.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder, "reserved")
    ...     with reserve(file, ["2a", "ff"]) as ours, reserve(file, ["ff", "01"]) as theirs:
    ...         sorted(ours), sorted(theirs)
    (['2a', 'ff'], ['01'])
    """
    path = path.resolve()
    # 60 of an id's 80 bits: what fits into a file offset.
    offsets = {name: int(name[:15], 16) for name in ids}
    with _one_at_a_time:
        file, granted = None, set[str]()
        if path not in _whole:
            file = _files.setdefault(path, _files.get(path) or _opened(path))
            granted = {name for name, offset in offsets.items() if _lock(file, offset)}
    try:
        yield granted
    finally:
        with _one_at_a_time:
            if file is not None:
                for name in granted:
                    _unlock(file, offsets[name])
                if not file.offsets:
                    os.close(_files.pop(path).descriptor)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold all reservations there can be, until the end of the block.

    Raises:
        BlockingIOError: somebody holds one; a file system without locks never says so.
        OSError: the file cannot be made.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder, alone(Path(folder, "reserved")):
    ...     Path(folder, "reserved").exists()
    True
    """
    path = path.resolve()
    with _one_at_a_time:
        if path in _files or path in _whole:
            raise BlockingIOError(errno.EAGAIN, "this process itself holds some")
        file = _opened(path)
        try:
            fcntl.lockf(file.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                os.close(file.descriptor)
                raise BlockingIOError(error.errno, "another run holds some") from error
        _whole.add(path)
    try:
        yield
    finally:
        with _one_at_a_time:
            _whole.remove(path)
            os.close(file.descriptor)


def _opened(path: Path) -> _File:
    return _File(os.open(path, os.O_RDWR | os.O_CREAT, 0o666))


def _lock(file: _File, offset: int) -> bool:
    if offset in file.offsets:
        return False
    try:
        fcntl.lockf(file.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        # A file system without locks: two runs may train the same cell, and the store keeps both.
    file.offsets.add(offset)
    return True


def _unlock(file: _File, offset: int) -> None:
    file.offsets.remove(offset)
    with suppress(OSError):
        fcntl.lockf(file.descriptor, fcntl.LOCK_UN, 1, offset)

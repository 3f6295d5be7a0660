"""Processes and file systems of a stress test that leaves neither behind."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FAKETIME = [Path(f"/usr/lib/{where}/faketime/libfaketime.so.1") for where in ("x86_64-linux-gnu", "aarch64-linux-gnu")]
SUBREAPER = 36  # of prctl(2)


def go_apart() -> None:
    """Begin this program again as the first process of its own namespaces, where that is permitted.

    Every process in them ends with the first one, and what it mounts nobody else sees. Its shared memory is of that
    kind, since processes that are killed leave things there.
    """
    if os.getpid() == 1:
        _mount(Path("/dev/shm"), "mode=1777")
        return
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid():
        command.append("--map-root-user")
    if not shutil.which("unshare"):
        return
    if subprocess.run([*command, "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0:
        os.execvp("unshare", [*command, sys.executable, *sys.argv])


@contextmanager
def nobody_left() -> Iterator[None]:
    """End with the block every process that was started in it, those too whose parent is gone by then."""
    others = set(descendants(os.getpid()))
    with suppress(AttributeError):  # of Linux alone
        ctypes.CDLL(None).prctl(SUBREAPER, 1)
    on_sigterm = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        while alive := set(descendants(os.getpid())) - others:
            for process in alive:
                kill(process, signal.SIGKILL)
            time.sleep(0.05)
        signal.signal(signal.SIGTERM, on_sigterm)


def descendants(*parents: int) -> list[int]:
    """The live processes that these have started, and those have."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = status.read_text().rpartition(")")[2].split()[:2]
            if state not in "ZX":
                children[int(parent)].append(int(status.parent.name))
    found = list(parents)
    for process in found:
        found += children[process]
    return found[len(parents) :]


def ray_workers(raylets: list[int]) -> list[int]:
    """Those of the nodes' processes that train, or wait for something to train."""
    return [process for process in descendants(*raylets) if _title(process) in ("ray::train_away", "ray::IDLE")]


def _title(process: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_text().partition("\0")[0].strip()
    return ""


def kill(process: int, number: int) -> bool:
    """Send a signal; False if nobody is there any more."""
    with suppress(ProcessLookupError):
        os.kill(process, number)
        return True
    return False


@contextmanager
def small_file_system(folder: Path, kilobytes: int) -> Iterator[bool]:
    """Mount one there for the length of the block; False where that is not permitted."""
    # Only in a namespace of one's own: a mount would outlive a test that is killed.
    if os.getpid() != 1 or not _mount(folder, f"size={kilobytes}k"):
        yield False
        return
    try:
        yield True
    finally:
        # Lazily: a job whose driver has ended may still have a file open there.
        subprocess.run(["umount", "--lazy", folder], check=True)


def enlarge(folder: Path, kilobytes: int) -> None:
    """Make room on a small file system."""
    assert _mount(folder, f"remount,size={kilobytes}k")


def _mount(folder: Path, options: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
    with suppress(FileNotFoundError):
        return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0
    return False

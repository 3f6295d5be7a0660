"""What a claim needs beyond the core: an extra's package, or local data."""

from __future__ import annotations

import importlib.util
import os
import re
from collections import defaultdict
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

__all__ = ["data_root", "install", "missing"]


def data_root() -> Path | None:
    """The root folder of local data: `--data DIR`, which sets `LEMMATA_DATA`."""
    root = os.environ.get("LEMMATA_DATA")
    return Path(root) if root else None


def missing(needs: Sequence[str]) -> list[str]:
    """Why each unmet need is unmet and how to meet it; empty when a claim can run.

    A need is "extra:NAME" for a package by the name that it is imported under, or "data:FOLDER" for a folder below the
    data root.

    >>> missing(["extra:numpy"])
    []
    >>> missing(["extra:no_such_package"])
    ['needs the package no_such_package: pip install no_such_package']
    """
    return [reason for need in needs if (reason := _unmet(*need.split(":", 1)))]


def _unmet(kind: str, name: str) -> str | None:
    if kind == "extra":
        found = importlib.util.find_spec(name) is not None
        return None if found else f"needs the package {name}: {install(name)}"
    root = data_root()
    if root is None:
        return f"needs the data folder {name}: pass --data DIR or set LEMMATA_DATA to the folder that holds it"
    return None if (root / name).is_dir() else f"needs the data folder {name}, which is not in {root}"


def install(name: str) -> str:
    """How to get a package: by the smallest extra of this project that brings it, else by its own name.

    >>> install("submitit")
    'pip install "lemmata[slurm]"'
    """
    extras: defaultdict[str, set[str]] = defaultdict(set)
    for requirement in metadata.requires("lemmata") or ():
        package, _, extra = requirement.partition("extra == ")
        extras[extra.strip("'\"")].add(re.split(r"[^\w-]", package)[0].replace("-", "_"))
    bringing = [extra for extra, packages in extras.items() if extra and name in packages]
    if not bringing:
        return f"pip install {name}"
    return f'pip install "lemmata[{min(bringing, key=lambda extra: len(extras[extra]))}]"'

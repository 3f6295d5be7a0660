"""What this installation is and what it lacks: versions, machine, store, extras, programs, data."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import torch

from lemmata import registry
from lemmata.lab.errors import LemmataError
from lemmata.lab.needs import data_root, missing
from lemmata.lab.store import Store

__all__ = ["examine"]

PROGRAMS = (
    ("LaTeX", ("pdflatex", "xelatex", "lualatex"), "figures as .pgf", "install TeX Live"),
    ("Chromium", ("chromium", "chromium-browser", "google-chrome"), "the tests of the report", "install Chromium"),
)


def examine(store: Path) -> dict[str, object]:
    """Everything that bears on a run here, as plain JSON; problems are told, not raised.

    >>> sorted(examine(Path("no-such-folder")))
    ['claims', 'data', 'extras', 'lemmata', 'machine', 'packages', 'problems', 'programs', 'store']
    """
    problems: list[str] = []
    return {
        "lemmata": version("lemmata"),
        "packages": {name: found for name in _required(None) if (found := _version(name))},
        "machine": _machine(),
        "store": _store(store, problems),
        "data": str(data_root()) if data_root() else None,
        "claims": _claims(problems),
        "extras": [_extra(name) for name in _extras()],
        "programs": [_program(*about) for about in PROGRAMS],
        "problems": problems,
    }


def _machine() -> dict[str, object]:
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "gpus": gpus,
    }


def _store(path: Path, problems: list[str]) -> dict[str, object]:
    about: dict[str, object] = {"path": str(path.absolute()), "exists": path.exists(), "cells": 0}
    try:
        about["cells"] = len(Store(path).ids())
    except LemmataError as error:
        problems.append(str(error))
    files = [file for file in path.rglob("*") if file.is_file()]
    about["megabytes"] = round(sum(file.stat().st_size for file in files) / 1e6, 3)
    about["damaged"] = sorted(str(file) for file in files if file.suffix == ".damaged")
    return about


def _claims(problems: list[str]) -> list[dict[str, object]]:
    """Claims that cannot run here, and why."""
    try:
        every = [claim for paper in registry.papers() for claim in paper.claims]
    except LemmataError as error:
        problems.append(str(error))
        return []
    return [{"id": c.id, "missing": reasons} for c in every if (reasons := missing(c.needs))]


def _extra(name: str) -> dict[str, object]:
    return {
        "name": name,
        "missing": [package for package in _required(name) if _version(package) is None],
        "get": f'pip install "lemmata[{name}]"',
    }


def _program(name: str, commands: Sequence[str], use: str, get: str) -> dict[str, object]:
    found = next((path for command in commands if (path := shutil.which(command))), None)
    return {"name": name, "found": found, "for": use, "get": get}


def _extras() -> list[str]:
    return sorted({extra for line in requires("lemmata") or [] if (extra := _extra_of(line))})


def _required(extra: str | None) -> list[str]:
    """The packages that the core (None) or an extra asks for, Lemmata's own extras apart."""
    lines = [line for line in requires("lemmata") or [] if _extra_of(line) == extra]
    names = [re.split(r"[^A-Za-z0-9._-]", line)[0] for line in lines]
    return [name for name in names if name != "lemmata"]


def _extra_of(requirement: str) -> str | None:
    found = re.search(r"extra == ['\"]([^'\"]+)", requirement)
    return found[1] if found else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

"""What is said where: the result on stdout, everything else on stderr."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lemmata.lab.estimate import Estimate
    from lemmata.lab.store import Store

__all__ = ["ends", "print_json", "say", "say_damaged", "to_json", "write"]


def ends(estimate: Estimate) -> dict[str, float | None]:
    """A number and its interval for JSON; what is open, or no number, is null."""
    found = {"value": estimate.value, "lo": estimate.lo, "hi": estimate.hi}
    return {name: value if math.isfinite(value) else None for name, value in found.items()}


def print_json(record: Mapping[str, object]) -> None:
    """Exactly one JSON object, in which every number is finite."""
    click.echo(to_json(record))


def to_json(record: Mapping[str, object]) -> str:
    """The text of a JSON object, in which every number is finite."""
    return json.dumps(record, indent=2, allow_nan=False, ensure_ascii=False)


def say(text: str) -> None:
    """A remark beside the result; a path that is no text is said as far as it is."""
    click.echo(text.encode(errors="replace").decode(), err=True)


def say_damaged(store: Store) -> None:
    """Which shards were found damaged, and what becomes of their cells."""
    for path in store.damaged:
        say(f"set aside as damaged, its cells to be trained again: {path}")


def write(path: Path, content: bytes) -> None:
    """Write a file that `lemmata.show.check_output` has allowed, whole or not at all, and say so."""
    from lemmata.show.output import write_whole

    write_whole(path, content)
    say(f"wrote {path}")

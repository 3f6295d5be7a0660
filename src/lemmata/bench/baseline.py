"""What was measured before on the same machine, and what is slower now beyond the noise of both."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from lemmata.lab.errors import DataError, InputError

__all__ = ["Compared", "against", "check_comparable", "read_baseline"]


@final
@dataclass(frozen=True)
class Compared:
    """The ratio to the usual script of one workload, before and now: median, least and largest of the rounds."""

    name: str
    before: tuple[float, float, float]
    now: tuple[float, float, float]

    @property
    def slower(self) -> bool:
        """Whether every round of now was below every round of before."""
        return self.now[2] < self.before[1]

    @property
    def faster(self) -> bool:
        """Whether every round was above."""
        return self.now[1] > self.before[2]


def read_baseline(path: Path) -> dict[str, Any]:
    """What `lemmata bench --json` printed into a file.

    Raises:
        InputError: there is no such file.
        DataError: it holds something else.
    """
    fix = "write one with lemmata bench --json > FILE"
    if not path.is_file():
        raise InputError("a file of lemmata bench --json", f"{path}, which is none", fix)
    try:
        found = json.loads(path.read_text())
        known: list[object] = [_ratio(measured) for measured in found["workloads"].values()]
        known.append((found["machine"]["cpu"], found["machine"]["workers"]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError("what lemmata bench --json prints", f"{path}, which holds something else", fix) from error
    return found


def check_comparable(before: Mapping[str, Any], machine: Mapping[str, Any], names: Sequence[str]) -> None:
    """Refuse, before anything is measured, a baseline that says nothing of these workloads on this machine.

    Raises:
        InputError: it is of another machine, or has none of the workloads.
    """
    for part in ("cpu", "workers"):
        if machine[part] != before["machine"][part]:
            got = f"{before['machine'][part]} before, {machine[part]} now"
            raise InputError(f"a baseline of this machine ({part})", got, "keep a file for each machine")
    if not set(names) & set(before["workloads"]):
        raise InputError("a workload that was measured before", ", ".join(names), "name a paper that was")


def against(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[Compared]:
    """The workloads that were measured both times.

    Ratios are compared and not rates: the usual script and Lemmata meet the same machine, however busy it is.

    >>> measured = {"ratio": 5.0, "ratio_lo": 4.8, "ratio_hi": 5.2}
    >>> slower = measured | {"ratio": 4.0, "ratio_lo": 3.9, "ratio_hi": 4.1}
    >>> runs = [{"workloads": {"icl": m}} for m in (slower, measured)]
    >>> [each.slower for each in against(*runs)]
    [True]
    """
    names = [name for name in now["workloads"] if name in before["workloads"]]
    return [Compared(n, _ratio(before["workloads"][n]), _ratio(now["workloads"][n])) for n in names]


def _ratio(measured: Mapping[str, float]) -> tuple[float, float, float]:
    return float(measured["ratio"]), float(measured["ratio_lo"]), float(measured["ratio_hi"])

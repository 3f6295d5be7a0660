"""Measures that every paper takes: rows of an ensemble, and the step at which something first falls below a bound."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

from torch import Tensor

from lemmata.lab.ensemble import Snapshot
from lemmata.lab.trainee import Measure, Row, Value

__all__ = ["FirstPassage", "PerMember", "Repeated", "Watched", "joined", "rows"]

PerMember = Tensor | Sequence[float]


def rows(
    metric: str, x: float | PerMember, value_E: PerMember, at: Mapping[str, Value] | None = None
) -> list[list[Row]]:
    """One row a member, from one number a member; x is the same for all, or one a member too.

    >>> rows("error", 8, [0.1, 0.2])[1]
    [Row(metric='error', x=8, value=0.2, at={})]
    """
    values = value_E.tolist() if isinstance(value_E, Tensor) else value_E
    xs = [x] * len(values) if isinstance(x, (int, float)) else x.tolist() if isinstance(x, Tensor) else x
    return [[Row(metric, x, value, at or {})] for x, value in zip(xs, values, strict=True)]


def joined(parts: Sequence[list[list[Row]]]) -> list[list[Row]]:
    """The rows of several measurements, member by member.

    >>> [len(member) for member in joined([rows("error", 8, [0.1, 0.2]), rows("loss", 8, [0.3, 0.4])])]
    [2, 2]
    """
    return [[row for rows in member for row in rows] for member in zip(*parts, strict=True)]


@final
class Watched(NamedTuple):
    """A quantity of each member, (E,), the bound that it has to fall below, and the coordinates of its rows."""

    value_E: Tensor
    below: float
    at: Mapping[str, Value]


@dataclass(frozen=True, kw_only=True)
class Repeated(Measure):
    """What is looked at every few steps, from the start of training to its end."""

    every: int = 10

    @final
    def steps(self, config: Any) -> Sequence[int]:
        """The first step, every few from there on, and the last.

        >>> class Config:
        ...     steps = 10
        >>> class Look(Repeated):
        ...     def observe(self, snapshot, memory):
        ...         return []
        >>> Look(every=4).steps(Config)
        [0, 4, 8, 10]
        """
        return [*range(0, config.steps, self.every), config.steps]


@dataclass(frozen=True, kw_only=True)
class FirstPassage(Repeated):
    """The steps at which quantities first fall below their bounds, known to lie in (steps_lo, steps_hi].

    A member leaves the ensemble once all have passed; one that never does has steps_hi = infinity. A subclass says
    what is watched.
    """

    every: int = 5

    @abstractmethod
    def watched(self, snapshot: Snapshot, memory: dict[str, Any]) -> Sequence[Watched]:
        """What has to pass, as it stands now; the same quantities in the same order at every step.

        `memory` is the subclass's own from step to step.
        """

    @final
    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """Rows "steps_lo" and "steps_hi" for what passes now, or at the end for what never did."""
        watched = self.watched(snapshot, memory.setdefault("own", {}))
        passed: dict[int, set[int]] = memory.setdefault("passed", {})
        before, memory["step"] = memory.get("step", 0), snapshot.step
        memory["quantities"] = len(watched)
        found: list[list[Row]] = []
        for e, (member, config) in enumerate(zip(snapshot.members, snapshot.configs, strict=True)):
            already = passed.setdefault(member, set())
            new: list[Row] = []
            for i, (value_E, below, at) in enumerate(watched):
                if i in already:
                    continue
                if float(value_E[e]) < below:
                    already.add(i)
                    new += [Row("steps_lo", 0, before, at), Row("steps_hi", 0, snapshot.step, at)]
                elif snapshot.step >= config.steps:
                    new += [Row("steps_lo", 0, snapshot.step, at), Row("steps_hi", 0, float("inf"), at)]
            found.append(new)
        return found

    @final
    def finished(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[bool]:
        """Those of which everything has passed."""
        return [len(memory["passed"][member]) == memory["quantities"] for member in snapshot.members]

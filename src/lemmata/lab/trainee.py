"""What is trained and what is measured of it, as frozen dataclasses whose fields are the constants of a paper.

A `Trainee` knows all constants of data, network and training, and how to train an ensemble of itself. A `Measure` is
what is looked at while and after it trains; it leaves `Row`s. A paper makes one subclass of each kind it needs.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self, final

from lemmata.lab.ensemble import Adam, Job, Phase, Sgd, Snapshot, fit
from lemmata.lab.errors import ConstantError, nearest

__all__ = [
    "Constant",
    "Coordinate",
    "Measure",
    "Origin",
    "Room",
    "Row",
    "Trainee",
    "Value",
    "constant",
    "coordinate",
]

Value = bool | int | float | str
Room = Literal["data", "network", "training"]
Origin = Literal["given", "chosen"]


@final
@dataclass(frozen=True)
class Constant:
    """What one field of a trainee means, who fixed it, and what it may be.

    `room` says what it is an axis of: prompts are drawn from the data constants, initial weights from the network's, so
    two members that differ elsewhere see the same prompts, or start from the same weights. `origin` is "given" where
    the paper states the value, "chosen" where it leaves it open. `shape` marks the constants that the members of one
    ensemble must share, since they set the shape of a tensor or the length of the run.
    """

    meaning: str
    origin: Origin
    room: Room
    low: float
    high: float
    choices: tuple[str, ...]
    shape: bool


def constant(
    default: Value,
    meaning: str,
    *,
    origin: Origin,
    room: Room,
    low: float = -float("inf"),
    high: float = float("inf"),
    choices: tuple[str, ...] = (),
    shape: bool = False,
) -> Any:
    """A field of a trainee with its meaning, origin and range; see `Constant`."""
    about = Constant(meaning, origin, room, low, high, choices, shape)
    return field(default=default, metadata={"constant": about})


@dataclass(frozen=True, kw_only=True)
class Trainee(ABC):
    """What is trained: all constants of data, network and training, flat, each with its meaning.

    A subclass is final, adds its constants with `constant(...)` and says how an ensemble of it is made (`job`).
    `version` is bumped by hand whenever the same constants begin to give other numbers.
    """

    kind: ClassVar[str]
    version: ClassVar[int]
    # Members that a CPU worker trains together where nothing was measured, and, where that may be more, the most that
    # are tried: set by what a worker holds with all that is measured of them, 600 MB as a rule.
    together: ClassVar[int] = 8
    most: ClassVar[int] = 0

    lr: float = constant(0.5, "learning rate eta", origin="chosen", room="training", low=0)
    steps: int = constant(400, "gradient steps T", origin="chosen", room="training", low=0, shape=True)

    def __post_init__(self) -> None:
        """Check every constant at the door.

        Raises:
            ConstantError: a constant cannot take its value, or the values are impossible together.
        """
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            _check(f.name, f.metadata["constant"], value, type(f.default))
            if isinstance(f.default, float):
                # 2 and 2.0, 0.0 and -0.0 are the same constant, so they must be the same cell.
                object.__setattr__(self, f.name, float(value) + 0.0)
        self.validate()

    def validate(self) -> None:  # noqa: B027 - most trainees have nothing to add
        """Refuse constants that are each fine and impossible together."""

    @classmethod
    def constants(cls) -> Mapping[str, Constant]:
        """Name to meaning, origin and range, in the order of definition."""
        return _constants(cls)

    def axes(self, room: Room) -> dict[str, Value]:
        """The constants of one room: what its randomness is a function of, besides the seed."""
        return {name: getattr(self, name) for name, about in self.constants().items() if about.room == room}

    def shape_key(self) -> tuple[Value, ...]:
        """Members with the same key fit into one ensemble."""
        return tuple(getattr(self, name) for name, about in self.constants().items() if about.shape)

    def replace(self, changes: Mapping[str, Value]) -> Self:
        """The same with some constants changed.

        Raises:
            ConstantError: no constant has this name, or it cannot take this value.

        >>> from lemmata import icl
        >>> icl.OneLayer().replace({"beta": 1.5}).beta
        1.5
        """
        known = self.constants()
        for name in changes:
            if name not in known:
                raise ConstantError(f"a constant of {self.kind}", name, nearest(name, known))
        return dataclasses.replace(self, **changes)

    def optimizer(self) -> Sgd | Adam:
        """Plain gradient descent, unless a subclass says otherwise."""
        return Sgd()

    def phases(self) -> tuple[Phase, ...]:
        """One phase in which everything trains, unless a subclass says otherwise."""
        return (Phase(self.steps),)

    @abstractmethod
    def work(self) -> float:
        """Necessary floating-point operations of one member's training, about: what a plan's minutes are made from."""

    @classmethod
    @abstractmethod
    def job(cls, configs: Sequence[Self], seeds: Sequence[int], device: str) -> Job:
        """The ensemble of these members: first weights, loss and draws."""

    def train(self, seeds: Sequence[int] = (0,), *, device: str = "cpu", compile: bool = False) -> Snapshot:
        """Train one member a seed, as one program.

        >>> from lemmata import icl
        >>> net = icl.OneLayer(steps=2).train(seeds=[0, 1])
        >>> len(net.params["W_O"]), net.step
        (2, 2)
        """
        return fit([self] * len(seeds), seeds, device=device, compile=compile)


@functools.cache
def _constants(cls: type[Trainee]) -> Mapping[str, Constant]:
    """Looked up for every cell, of which there may be a million."""
    return MappingProxyType({f.name: f.metadata["constant"] for f in dataclasses.fields(cls)})


def _check(name: str, about: Constant, value: object, kind: type) -> None:
    noun = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}[kind]
    fits = isinstance(value, (int, float) if kind is float else kind) and isinstance(value, bool) == (kind is bool)
    if not fits:
        raise ConstantError(f"{noun} for {name} ({about.meaning})", repr(value), f"set {name} to {noun}")
    if about.choices and value not in about.choices:
        words = f"{name} ({about.meaning}) as one of {', '.join(about.choices)}"
        raise ConstantError(words, str(value), nearest(str(value), about.choices))
    if isinstance(value, (int, float)) and not (about.low <= value <= about.high and math.isfinite(value)):
        span = f"[{about.low:g}, {about.high:g}]"
        raise ConstantError(f"{name} ({about.meaning}) in {span}", f"{value}", f"choose {name} in {span}")


@final
@dataclass(frozen=True)
class Row:
    """One measured number; `at` holds the coordinates of the measurement besides `x` (a test alpha', S_1, a layer)."""

    metric: str
    x: float
    value: float
    at: Mapping[str, Value] = field(default_factory=dict)


@final
@dataclass(frozen=True)
class Coordinate:
    """What one coordinate of a measurement means, and who fixed its values, as in `Constant`."""

    meaning: str
    origin: Origin


def coordinate(default: float | str | tuple[float, ...] | tuple[str, ...], meaning: str, *, origin: Origin) -> Any:
    """A field of a measure that a user may change as a constant: a number or a word, or those that a sweep visits.

    An empty sweep is one that the measure does not make, and stays so.
    """
    return field(default=default, metadata={"coordinate": Coordinate(meaning, origin)})


@dataclass(frozen=True, kw_only=True)
class Measure(ABC):
    """What is measured of an ensemble, and at which steps. Its fields are part of a cell's identity.

    `version` is bumped by hand whenever the same measure begins to give other numbers.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1

    def coordinates(self) -> dict[str, Coordinate]:
        """Name to meaning and origin of what `replace` can change."""
        known = {f.name: f.metadata.get("coordinate") for f in dataclasses.fields(self)}
        return {name: about for name, about in known.items() if about and getattr(self, name) != ()}

    def kinds(self) -> dict[str, type]:
        """Name to type, float or str, of what `replace` can change."""
        values = {name: getattr(self, name) for name in self.coordinates()}
        firsts = {name: value[0] if isinstance(value, tuple) else value for name, value in values.items()}
        return {name: str if isinstance(first, str) else float for name, first in firsts.items()}

    def replace(self, changes: Mapping[str, Value]) -> Self:
        """The same measured elsewhere; names that are not its own are left to others."""
        mine = {name: kind(changes[name]) for name, kind in self.kinds().items() if name in changes}
        sweeps = {name: (value,) for name, value in mine.items() if isinstance(getattr(self, name), tuple)}
        return dataclasses.replace(self, **{**mine, **sweeps})

    def validate(self, config: Any) -> None:  # noqa: B027 - most measures can always be taken
        """Refuse to measure what cannot exist for these constants, before anything is trained."""

    def work(self, config: Any) -> float:
        """Floating-point operations that it takes of one member, about; 0 where they are few beside the training."""
        return 0.0

    def steps(self, config: Any) -> Sequence[int]:
        """The steps at which it looks; after the last one, unless a subclass says otherwise."""
        return (config.steps,)

    @abstractmethod
    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """The rows of each member of the snapshot; `memory` is this measure's own from step to step."""

    def finished(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[bool]:
        """Which members it needs no further step of; a member that all measures are done with stops training."""
        return [snapshot.step >= config.steps for config in snapshot.configs]

"""Conditions x seeds = cells: what an experiment trains, and what makes two results the same one.

An `Experiment` varies some constants of a trainee. A `Cell` is one member of it, and its identity is everything that
its numbers depend on and nothing else: not the claim that asks, not where or how it runs.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, Literal, TypeVar, final

from lemmata.lab.ensemble import Snapshot, fit
from lemmata.lab.errors import ConstantError, InputError, nearest
from lemmata.lab.streams import GENERATOR
from lemmata.lab.trainee import Coordinate, Measure, Row, Trainee, Value

__all__ = ["PROFILES", "ByProfile", "Cell", "CellResult", "Experiment", "Profile", "identity", "measure", "product"]

Profile = Literal["quick", "default", "full"]
PROFILES: tuple[Profile, ...] = ("quick", "default", "full")
T = TypeVar("T")

# Seeds from here on are for choosing constants; no verdict reads them.
FIRST_CHOOSING_SEED = 1000


@final
@dataclass(frozen=True)
class Cell:
    """One member of an experiment: its constants, its seed, what is measured of it."""

    config: Trainee
    seed: int
    measures: tuple[Measure, ...]

    @property
    def spec(self) -> dict[str, Any]:
        """Everything the numbers of this cell depend on, as plain JSON. Made anew: there may be a million cells."""
        return {
            "kind": self.config.kind,
            "version": self.config.version,
            "generator": GENERATOR,
            # Constants are numbers and words, which need no deep copy.
            "config": {f.name: getattr(self.config, f.name) for f in dataclasses.fields(self.config)},
            "seed": self.seed,
            "measures": [{"name": m.name, "version": m.version, **_fields_of(m)} for m in self.measures],
        }

    @cached_property
    def id(self) -> str:
        """Twenty hexadecimal digits, the same on every machine."""
        return identity(self.spec)

    @property
    def work(self) -> float:
        """Floating-point operations of its training and of what is measured, about."""
        return self.config.work() + sum(m.work(self.config) for m in self.measures)

    @property
    def batch_key(self) -> tuple[object, ...]:
        """Cells with the same key can be trained as one ensemble."""
        return (self.config.kind, self.config.shape_key(), self.measures)


@functools.lru_cache(maxsize=256)
def _fields_of(m: Measure) -> dict[str, Any]:
    """What a measure adds to the spec of a cell; the cells of an experiment have it in common."""
    return dataclasses.asdict(m)


def identity(spec: Mapping[str, Any]) -> str:
    """The id of the cell that a spec describes, as it is and as a store gives it back.

    >>> of = identity({"kind": "toy", "seed": 0})
    >>> len(of), of == identity({"seed": 0, "kind": "toy"})
    (20, True)
    """
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()


@final
@dataclass(frozen=True)
class CellResult:
    """What a cell leaves: its rows and how its member ended."""

    cell: Cell
    status: str
    rows: tuple[Row, ...]


def measure(cells: Sequence[Cell], *, device: str = "cpu", compile: bool = False) -> tuple[list[CellResult], Snapshot]:
    """Train the cells of one `batch_key` as one ensemble and measure them: the whole of a unit of work.

    The snapshot is of the members as they ended.
    """
    measures = cells[0].measures
    memories: list[dict[str, Any]] = [{} for _ in measures]
    steps = [set(m.steps(cells[0].config)) for m in measures]
    rows: list[list[Row]] = [[] for _ in cells]

    def watch(snapshot: Snapshot) -> list[bool]:
        done = [True] * len(snapshot.members)
        for m, due, memory in zip(measures, steps, memories, strict=True):
            if snapshot.step in due:
                for member, new in zip(snapshot.members, m.observe(snapshot, memory), strict=True):
                    rows[member] += new
            done = [a and b for a, b in zip(done, m.finished(snapshot, memory), strict=True)]
        return done

    configs, seeds = [c.config for c in cells], [c.seed for c in cells]
    end = fit(configs, seeds, watch=watch, watch_steps=set().union(*steps), device=device, compile=compile)
    return [CellResult(c, status, tuple(r)) for c, status, r in zip(cells, end.status, rows, strict=True)], end


@final
@dataclass(frozen=True)
class ByProfile(Generic[T]):
    """A setting that grows from `--quick` over the default to `--full`."""

    quick: T
    default: T
    full: T

    def at(self, profile: Profile) -> T:
        """The setting of one profile."""
        return getattr(self, profile)


def product(**axes: Sequence[Value]) -> tuple[dict[str, Value], ...]:
    """Every combination of the axes, the last one fastest.

    >>> product(alpha=[0.4, 0.8], m=[32, 64])[1]
    {'alpha': 0.4, 'm': 64}
    """
    return tuple(dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values()))


@final
@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A grid of conditions, what is trained in each, and what is measured of it; several claims may read one.

    `points` lists the conditions as changes to `base`. `settings` are other values of the constants that the paper
    leaves open, by name: the whole grid is repeated at each, with `setting_seeds` seeds, and every prediction's
    estimate there is reported beside the verdict of the registered setting.
    """

    name: str
    base: Trainee
    measures: tuple[Measure, ...]
    seeds: ByProfile[int]
    points: ByProfile[tuple[Mapping[str, Value], ...]] = ByProfile(({},), ({},), ({},))
    settings: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    setting_seeds: ByProfile[int] = ByProfile(0, 3, 5)

    def changeable(self) -> dict[str, type]:
        """Name to type of what a user may change: the constants, and the coordinates of the measures."""
        constants = {f.name: type(f.default) for f in dataclasses.fields(self.base)}
        return constants | {name: kind for m in self.measures for name, kind in m.kinds().items()}

    def coordinates(self, changes: Mapping[str, Value] | None = None) -> dict[str, tuple[Coordinate, list[Value]]]:
        """Name to meaning, origin and values of where its measures look; `changes` as in `cells`."""
        found: dict[str, tuple[Coordinate, list[Value]]] = {}
        for m in (m.replace(changes or {}) for m in self.measures):
            for name, about in m.coordinates().items():
                own = getattr(m, name)
                _, values = found.setdefault(name, (about, []))
                values += [v for v in (own if isinstance(own, tuple) else (own,)) if v not in values]
        return found

    def cells(
        self,
        profile: Profile,
        *,
        seeds: int | None = None,
        changes: Mapping[str, Value] | None = None,
        setting: str | None = None,
    ) -> list[Cell]:
        """The cells of a profile; `changes` override the grid's own values, `setting` names one of `settings`.

        Raises:
            InputError: fewer than one seed, or so many that they meet the seeds kept for choosing constants.
            ConstantError: a change has no such name, or a value that it cannot take.
        """
        count = self.seeds.at(profile) if seeds is None else seeds
        if setting is not None:
            count = min(count, self.setting_seeds.at(profile))
        elif not 1 <= count < FIRST_CHOOSING_SEED:
            top = FIRST_CHOOSING_SEED - 1
            raise InputError(f"a number of seeds from 1 to {top}", str(count), f"pass --seeds between 1 and {top}")
        over = {**(self.settings[setting] if setting else {}), **(changes or {})}
        known = self.changeable()
        for name in over:
            if name not in known:
                raise ConstantError(f"a constant of {self.name}", name, nearest(name, known))
        constants = {name: value for name, value in over.items() if name in self.base.constants()}
        configs = dict.fromkeys(self.base.replace({**point, **constants}) for point in self.points.at(profile))
        measures = tuple(m.replace(over) for m in self.measures)
        for config, m in itertools.product(configs, measures):
            m.validate(config)
        return [Cell(config, seed, measures) for config in configs for seed in range(count)]

"""Which cells are trained together: how many in a chunk, and which of them compiled. Both are chosen by measuring.

    shape   cells that could all be one ensemble, but for what is measured of them
    choice  how many members of a shape a chunk has at most, and whether its step is compiled
    chunk   cells that are trained as one ensemble: a unit of work

A shape is measured (`lab.pace`) if a worker is expected to need a hundred seconds for it, and of a kind that is
expected to need five at least its heaviest shape; the others of the kind are taken to be like the measured one that is
nearest in work. Measuring takes about a second, or a few where a step is long. Other kinds are trained in chunks of
their usual size. No number of a cell depends on its chunk; on compiling do the last digits, so that it is chosen only
when asked for, and where it saves more than it costs. Workers elsewhere are not measured: they get the usual size, and
compile what keeps each of them busy for a minute.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import final

import torch
from torch._dynamo.exc import TorchDynamoException

from lemmata.lab import pace
from lemmata.lab.grid import Cell
from lemmata.lab.pace import Pace
from lemmata.lab.trainee import Trainee, Value

__all__ = ["Choice", "Chunk", "Shape", "choose", "chunked", "joined"]

# Expected seconds of a worker for which a shape is measured, and for which at least one of its kind is.
WORTH_MEASURING, WORTH_ONE = 100.0, 5.0
# Expected seconds of a worker, while others work too, for which a shape is compiled to see what that gains.
WORTH_COMPILING = 60.0
# Operations a second of one worker, until something is known.
GUESS = 1e10

Shape = tuple[str, tuple[Value, ...]]


@final
@dataclass(frozen=True)
class Chunk:
    """Cells of one `batch_key`, trained as one ensemble."""

    cells: tuple[Cell, ...]
    compile: bool = False


@final
@dataclass(frozen=True)
class Choice:
    """How the `cells` cells of a shape are trained: `together` in a chunk at most.

    `constants` are those that make the shape. `seconds` are expected, of one worker for all of the cells. `source` says
    what it rests on: this shape was "measured", another one of its kind ("similar"), or nothing ("usual").
    """

    kind: str
    constants: Mapping[str, Value]
    cells: int
    together: int
    compile: bool
    seconds: float
    source: str


def choose(
    cells: Iterable[Cell],
    *,
    rate: Callable[[Trainee], float | None],
    workers: int,
    device: str = "cpu",
    compile: bool = False,
    here: bool = True,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[Shape, Choice]:
    """How the cells of each shape are trained; measured where that is worth it, unless the workers are not `here`.

    `rate` gives the operations a second that a worker is known to do at networks of a kind. `compile` allows it. `tell`
    hears what is being measured.
    """
    kinds: defaultdict[str, defaultdict[Shape, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        kinds[cell.config.kind][_shape(cell)].append(cell)
    chosen: dict[Shape, Choice] = {}
    for shapes in kinds.values():
        kind = _Kind(shapes, rate(next(iter(shapes.values()))[0].config), device)
        if here:
            kind.measure(tell)
        for shape in shapes:
            choice = kind.choice(shape)
            config = shapes[shape][0].config
            if compile and _steps(config) and choice.seconds / workers >= WORTH_COMPILING:
                choice = _compiled(choice, config, workers, device, tell) if here else replace(choice, compile=True)
            chosen[shape] = choice
    return chosen


def chunked(cells: Sequence[Cell], workers: int, choices: Mapping[Shape, Choice]) -> tuple[Chunk, ...]:
    """Cells that can be trained together, longest first.

    With several workers a chunk is so small that each gets two, since they wait for the last one; where the choice
    allows it no member trains alone that could have company, since one costs nearly as much as two.
    """
    groups: defaultdict[tuple[object, ...], list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.batch_key].append(cell)
    fair = _work(cells) / (2 * workers) if workers > 1 else math.inf
    chunks: list[Chunk] = []
    for group in groups.values():
        choice = choices[_shape(group[0])]
        each = _work(group) / len(group)
        size = choice.together if fair >= choice.together * each else min(choice.together, max(2, int(fair / each)))
        count = math.ceil(len(group) / size)
        fewer = min(count, max(1, len(group) // 2))
        count = fewer if math.ceil(len(group) / fewer) <= choice.together else count
        bounds = [round(i * len(group) / count) for i in range(count + 1)]
        chunks += [Chunk(tuple(group[a:b]), choice.compile) for a, b in pairwise(bounds)]
    return tuple(sorted(chunks, key=lambda chunk: _work(chunk.cells), reverse=True))


def joined(choices: Iterable[Choice]) -> tuple[Choice, ...]:
    """The choices with those that are equal but for the cells put together, the most expected work first."""
    found: dict[tuple[object, ...], Choice] = {}
    for choice in choices:
        key = (choice.kind, *choice.constants.items(), choice.together, choice.compile, choice.source)
        one = found.get(key)
        cells, seconds = (one.cells, one.seconds) if one else (0, 0.0)
        found[key] = replace(choice, cells=cells + choice.cells, seconds=seconds + choice.seconds)
    return tuple(sorted(found.values(), key=lambda choice: -choice.seconds))


class _Kind:
    """The shapes of one kind of network, and what is known of their pace."""

    def __init__(self, shapes: Mapping[Shape, Sequence[Cell]], rate: float | None, device: str) -> None:
        self.shapes, self.rate, self.device = shapes, rate, device
        self.work = {shape: _work(members) for shape, members in shapes.items()}
        self.paces: dict[Shape, Pace] = {}

    def measure(self, tell: Callable[[str], None]) -> None:
        """Those that are worth it, the heaviest first, unless they are remembered."""
        found = {shape: pace.remembered(self._config(shape), device=self.device) for shape in self.shapes}
        self.paces = {shape: each for shape, each in found.items() if each is not None}
        for shape in sorted(self.shapes, key=lambda shape: -self.work[shape]):
            kind_is_worth_it = not self.paces and sum(map(self._seconds, self.shapes)) >= WORTH_ONE
            if shape in self.paces or not _steps(config := self._config(shape)):
                continue
            if kind_is_worth_it or self._seconds(shape) >= WORTH_MEASURING:
                tell(f"measuring how many of {shape[0]} to train together")
                # A GPU that has no room for as many as are tried may have it for those that there are.
                with suppress(torch.OutOfMemoryError):
                    self.paces[shape] = pace.measured(config, device=self.device)

    def choice(self, shape: Shape) -> Choice:
        """How its members are trained, by what is known of it or of the most similar one."""
        config, count = self._config(shape), len(self.shapes[shape])
        like = self._like(shape)
        return Choice(
            kind=config.kind,
            constants={name: getattr(config, name) for name, about in config.constants().items() if about.shape},
            cells=count,
            together=pace.usual(config, self.device) if like is None else self.paces[like].best(),
            compile=False,
            seconds=self._seconds(shape),
            source="usual" if like is None else "measured" if like == shape else "similar",
        )

    def _seconds(self, shape: Shape) -> float:
        """Of one worker for all members: at the rate that the store knows, or else by what was measured."""
        like = self._like(shape)
        if self.rate is None and like is not None:
            return self.work[shape] / (max(self.paces[like].rate) * _work_of_a_step(self._config(like)))
        return self.work[shape] / (self.rate or GUESS)

    def _like(self, shape: Shape) -> Shape | None:
        """The shape itself if it was measured, or else that which was and is nearest in the work of a step."""
        step = _work_of_a_step(self._config(shape))
        distance = {
            other: (other != shape, abs(math.log(_work_of_a_step(self._config(other)) / step))) for other in self.paces
        }
        return min(distance, key=lambda other: distance[other], default=None)

    def _config(self, shape: Shape) -> Trainee:
        return self.shapes[shape][0].config


def _compiled(choice: Choice, config: Trainee, workers: int, device: str, tell: Callable[[str], None]) -> Choice:
    """The same, compiled if that saves a worker more than compiling takes, which is part of the first step."""
    tell(f"measuring what compiling {choice.kind} gains")
    try:
        eager, compiled = (pace.measured(config, device=device, compile=compile) for compile in (False, True))
    except (TorchDynamoException, torch.OutOfMemoryError) as error:
        tell(f"{choice.kind} is not compiled: {str(error).strip().splitlines()[0]}")
        return choice
    gain = max(compiled.rate) / max(eager.rate)
    # Outputs alone are another program than the whole step.
    if choice.seconds / workers * (1 - 1 / gain) <= 2 * compiled.first:
        return choice
    return replace(choice, together=compiled.best(), compile=True, seconds=choice.seconds / gain, source="measured")


def _shape(cell: Cell) -> Shape:
    return cell.config.kind, cell.config.shape_key()


def _work(cells: Iterable[Cell]) -> float:
    return sum(cell.work for cell in cells)


def _work_of_a_step(config: Trainee) -> float:
    return max(1.0, config.work()) / max(1, _steps(config))


def _steps(config: Trainee) -> int:
    return sum(phase.steps for phase in config.phases())

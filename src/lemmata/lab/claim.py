"""What is asked: a claim of a paper, and its predictions with the rule of each.

A claim reads like the statement in the paper from top to bottom: source, predictions with their experiments, constants
and rules, figure. Profiles differ in seeds and in the density of the grid, never in a rule. How a verdict is reached
is in `lemmata.lab.check`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, final

import pandas as pd

from lemmata.lab.errors import ConstantError, RegistryError, nearest
from lemmata.lab.figure import Figure
from lemmata.lab.grid import Cell, Experiment, Profile
from lemmata.lab.needs import missing
from lemmata.lab.rule import Rule
from lemmata.lab.stats import Estimate
from lemmata.lab.sweep import Progress
from lemmata.lab.trainee import Value

if TYPE_CHECKING:
    from lemmata.lab.check import Result

__all__ = ["CellsBySetting", "Claim", "Frames", "Kind", "Options", "Paper", "Prediction", "provided"]

Kind = Literal["holds", "tight", "mechanism", "comparison"]
Frames = Mapping[str, pd.DataFrame]
CellsBySetting = Mapping[tuple[str, str | None], Sequence[Cell]]


@final
@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One thing that a claim predicts, the statistic that is compared with it, and the rule that decides.

    `kind`: "holds" for a promise inside its region, "tight" for a scaling, "mechanism" for how the network does it,
    "comparison" for one thing against another. `estimate` takes the tidy rows of the experiment `of` at one setting.
    """

    id: str
    statement: str
    kind: Kind
    source: str
    of: Experiment
    statistic: str
    predicted: str
    estimate: Callable[[pd.DataFrame], Estimate]
    rule: Rule


def provided(premise: Callable[[pd.DataFrame], Sequence[str]], *predictions: Prediction) -> tuple[Prediction, ...]:
    """The same predictions, UNDECIDED where their premise does not hold.

    `premise` says of the rows why not; nothing where it does. A claim that something fails needs one: a network that
    learned nothing fails at everything.
    """
    return tuple(replace(p, estimate=partial(_provided, premise, p.estimate)) for p in predictions)


def _provided(
    premise: Callable[[pd.DataFrame], Sequence[str]], estimate: Callable[[pd.DataFrame], Estimate], frame: pd.DataFrame
) -> Estimate:
    found = estimate(frame)
    return replace(found, objections=(*found.objections, *premise(frame)))


@final
@dataclass(frozen=True, kw_only=True)
class Options:
    """How a check runs. Only `profile`, `seeds` and `changes` bear on its numbers."""

    profile: Profile = "default"
    seeds: int | None = None
    changes: Mapping[str, Value] = field(default_factory=dict)
    store: Path = Path("lemmata-store")
    workers: int | None = None
    device: str = "cpu"
    compile: bool = False
    engine: str = "local"
    address: str | None = None
    slurm: Mapping[str, str | int] = field(default_factory=dict)
    progress: Progress | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement of a paper with its source; `needs` names extras ("extra:peft") and data ("data:mnist")."""

    id: str
    title: str
    statement: str
    source: str
    predictions: tuple[Prediction, ...]
    figure: Callable[[Frames], Figure]
    cites: tuple[str, ...]
    needs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a claim that could never be judged, or judged twice under one name."""
        names = [p.id for p in self.predictions]
        if not names:
            raise RegistryError(
                f"a prediction with a rule in claim {self.id}", "none", "add a Prediction with its Rule"
            )
        for p in self.predictions:
            if not isinstance(p.rule, Rule):
                fix = "give it one of lemmata.lab.rule's: within, at_most, at_least, between"
                raise RegistryError(f"a rule for prediction {self.id}/{p.id}", repr(p.rule), fix)
        if len(set(names)) < len(names):
            raise RegistryError(f"predictions of {self.id} with different ids", ", ".join(names), "rename one of them")
        experiments = {p.of.name: p.of for p in self.predictions}
        for p in self.predictions:
            if p.of is not experiments[p.of.name]:
                fix = "give each experiment of a claim a name of its own"
                raise RegistryError(f"one experiment named {p.of.name} in claim {self.id}", "two", fix)

    @property
    def paper(self) -> str:
        """The id of its paper: what stands before the dot."""
        return self.id.partition(".")[0]

    @property
    def experiments(self) -> tuple[Experiment, ...]:
        """What its predictions read, each once."""
        return tuple({p.of.name: p.of for p in self.predictions}.values())

    def cells(self, options: Options) -> CellsBySetting:
        """The cells of each experiment, at its registered setting (None) and at every other one.

        With changed constants only what was asked for; each change goes to the experiments that
        have such a constant. Empty where a need of the claim is not met.

        Raises:
            InputError: a number of seeds that cannot be.
            ConstantError: a change that no experiment knows, or that it cannot take.
        """
        known = {name for e in self.experiments for name in e.changeable()}
        for name in options.changes:
            if name not in known:
                raise ConstantError(f"a constant of {self.id}", name, nearest(name, known))
        if missing(self.needs):
            return {}
        return {
            (e.name, setting): e.cells(
                options.profile,
                seeds=options.seeds,
                changes={k: v for k, v in options.changes.items() if k in e.changeable()},
                setting=setting,
            )
            for e in self.experiments
            for setting in [None, *([] if options.changes else e.settings)]
        }

    def check(
        self,
        profile: Profile = "default",
        *,
        seeds: int | None = None,
        changes: Mapping[str, Value] | None = None,
        store: Path | str | None = None,
        workers: int | None = None,
        device: str = "cpu",
        compile: bool = False,
        engine: str = "local",
        address: str | None = None,
        slurm: Mapping[str, str | int] | None = None,
    ) -> Result:
        """Train what the store lacks and judge every prediction.

        The store is `lemmata-store` in the working folder, unless it is given or `LEMMATA_STORE` names another. How and
        where it trains is as in `lemmata.lab.sweep.sweep`.

        Raises:
            InputError: a number of seeds or a constant that cannot be, or an engine whose package is missing.
            StoreError: the store cannot be read or written.
            DeviceError: the device is not there.
            EngineError: workers were killed again and again, or the cluster does not answer.
        """
        # The judge knows claims; a claim knows the judge only when it is asked to be judged.
        from lemmata.lab.check import check

        path = Path(store or os.environ.get("LEMMATA_STORE", "lemmata-store"))
        options = Options(
            profile=profile,
            seeds=seeds,
            changes=changes or {},
            store=path,
            workers=workers,
            device=device,
            compile=compile,
            engine=engine,
            address=address,
            slurm=slurm or {},
        )
        return check([self], options)[0]


@final
@dataclass(frozen=True, kw_only=True)
class Paper:
    """A paper and its claims. `bibliography` maps citation keys to BibTeX entries; the first is the paper itself."""

    id: str
    title: str
    authors: str
    venue: str
    arxiv: str
    bibliography: Mapping[str, str]
    claims: tuple[Claim, ...]

"""What is asked: a claim of a paper, its predictions with their rules, and how a verdict on them is reached.

A claim reads like the statement in the paper from top to bottom: source, experiments with their constants, predictions
with the rule of each, figure. `check` goes the whole way: cells -> those not in the store -> training -> statistic ->
verdict. Profiles differ in seeds and in the density of the grid, never in a rule.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Literal, Mapping, Sequence, final

import pandas as pd

from lemmata.lab.errors import ConstantError, DataError, RegistryError, nearest
from lemmata.lab.figure import Figure
from lemmata.lab.grid import Cell, Experiment, Profile
from lemmata.lab.needs import missing
from lemmata.lab.rule import Rule, Verdict
from lemmata.lab.stats import Estimate
from lemmata.lab.store import Store
from lemmata.lab.sweep import Progress, sweep
from lemmata.lab.table import Table
from lemmata.lab.trainee import Value

__all__ = ["Claim", "Judgement", "Kind", "Options", "Paper", "Prediction", "Result", "Spread", "check", "judge"]

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
        known = {name for e in self.experiments for name in e.base.constants()}
        for name in options.changes:
            if name not in known:
                raise ConstantError(f"a constant of {self.id}", name, nearest(name, known))
        if missing(self.needs):
            return {}
        return {
            (e.name, setting): e.cells(
                options.profile,
                seeds=options.seeds,
                changes={k: v for k, v in options.changes.items() if k in e.base.constants()},
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
        store: Path | str = "lemmata-store",
        workers: int | None = None,
    ) -> Result:
        """Train what the store lacks and judge every prediction.

        Raises:
            InputError: a number of seeds or a constant that cannot be.
            StoreError: the store cannot be read or written.
        """
        options = Options(profile=profile, seeds=seeds, changes=changes or {}, store=Path(store), workers=workers)
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
    progress: Progress | None = None


@final
@dataclass(frozen=True)
class Spread:
    """The same prediction at another setting of the constants that the paper leaves open."""

    setting: str
    estimate: Estimate
    verdict: Verdict


@final
@dataclass(frozen=True, kw_only=True)
class Judgement:
    """One prediction, judged. `seconds` is the computing behind its cells, whenever they were trained."""

    id: str
    prediction: Prediction
    claim: Claim
    estimate: Estimate | None
    verdict: Verdict
    reason: str
    registered: bool
    seeds: int
    cells: int
    cells_trained: int
    seconds: float
    spread: tuple[Spread, ...]

    def to_json(self) -> dict[str, object]:
        """The record that `check --json` prints; its schema is in docs/schemas."""
        p, e = self.prediction, self.estimate
        return {
            "id": self.id,
            "claim": self.claim.id,
            "paper": self.claim.paper,
            "statement": p.statement,
            "source": p.source,
            "kind": p.kind,
            "prediction": p.predicted,
            "statistic": p.statistic,
            "estimate": _finite(e.value) if e else None,
            "interval": [_finite(e.lo), _finite(e.hi)] if e else [None, None],
            "verdict": self.verdict.value,
            "reason": self.reason,
            "rule": str(p.rule),
            "registered": self.registered,
            "seeds": self.seeds,
            "cells": self.cells,
            "cells_trained": self.cells_trained,
            "seconds": round(self.seconds, 3),
            "spread": [
                {
                    "setting": s.setting,
                    "estimate": _finite(s.estimate.value),
                    "interval": [_finite(s.estimate.lo), _finite(s.estimate.hi)],
                    "verdict": s.verdict.value,
                }
                for s in self.spread
            ],
        }


@final
@dataclass(frozen=True, kw_only=True)
class Result:
    """A checked claim: its verdicts, and the measurements behind them by experiment, registered setting only."""

    claim: Claim
    options: Options
    verdicts: tuple[Judgement, ...]
    frames: Frames

    @property
    def table(self) -> Table:
        """The measurements, aggregated over seeds with intervals; `.to_pandas()`, `.to_arrow()`."""
        return Table.of(self.frames)

    @property
    def figure(self) -> Figure:
        """The claim's figure of these measurements, as data."""
        return self.claim.figure(self.frames)


def check(claims: Sequence[Claim], options: Options, *, store: Store | None = None) -> list[Result]:
    """Train what the store lacks for all the claims at once, then judge each; see `Claim.check`.

    A caller's own `store` (of `options.store`) tells it afterwards which damaged shards were set aside.
    """
    every = [cell for claim in claims for part in claim.cells(options).values() for cell in part]
    store = store or Store(options.store)
    report = sweep(
        every,
        store,
        workers=options.workers,
        device=options.device,
        compile=options.compile,
        progress=options.progress,
    )
    return [judge(claim, options, store, trained=report.trained) for claim in claims]


def judge(claim: Claim, options: Options, store: Store, *, trained: frozenset[str] = frozenset()) -> Result:
    """Judge a claim from what is stored, and train nothing; without its cells it is NOT RUN.

    `trained` are the ids of the cells that this run trained. Other settings are reported where the
    store has them.
    """
    parts = claim.cells(options)
    held = store.holds(cell for part in parts.values() for cell in part)
    registered = {cell.id for (_, setting), part in parts.items() if setting is None for cell in part}
    lacking = len(registered - held)
    reasons = missing(claim.needs)
    if not reasons and lacking:
        found = f"{lacking} of {len(registered)} cells are not in the store"
        reasons = [f"{found}: run lemmata check {claim.id}"]
    if reasons:
        verdicts = tuple(_not_run(claim, p, "; ".join(reasons), not options.changes) for p in claim.predictions)
        return Result(claim=claim, options=options, verdicts=verdicts, frames={})
    frames = {key: store.read(part) for key, part in parts.items() if part and all(cell.id in held for cell in part)}
    verdicts = tuple(_judge(claim, p, not options.changes, frames, parts, trained) for p in claim.predictions)
    measured = {name: frame for (name, setting), frame in frames.items() if setting is None}
    return Result(claim=claim, options=options, verdicts=verdicts, frames=measured)


def _judge(
    claim: Claim,
    p: Prediction,
    registered: bool,
    frames: Mapping[tuple[str, str | None], pd.DataFrame],
    needed: CellsBySetting,
    trained: frozenset[str],
) -> Judgement:
    frame, cells = frames[p.of.name, None], needed[p.of.name, None]
    estimate, verdict, reason = _estimate(p, frame)
    others = [(setting, _estimate(p, f)) for (name, setting), f in frames.items() if name == p.of.name and setting]
    return Judgement(
        id=f"{claim.id}/{p.id}",
        prediction=p,
        claim=claim,
        estimate=estimate,
        verdict=verdict,
        reason=reason,
        registered=registered,
        seeds=len({cell.seed for cell in cells}),
        cells=len(cells),
        cells_trained=sum(cell.id in trained for cell in cells),
        seconds=float(frame.drop_duplicates("cell")["seconds"].sum()),
        spread=tuple(Spread(setting, e, v) for setting, (e, v, _) in others if e is not None),
    )


def _estimate(p: Prediction, frame: pd.DataFrame) -> tuple[Estimate | None, Verdict, str]:
    """The statistic, its verdict and the reasons that forbid one; changed constants can leave too little to estimate."""
    try:
        estimate = p.estimate(frame)
    except DataError as error:
        return None, Verdict.UNDECIDED, f"expected {error.expected}, got {error.got}"
    return estimate, p.rule.judge(estimate), "; ".join(estimate.objections)


def _not_run(claim: Claim, p: Prediction, reason: str, registered: bool) -> Judgement:
    return Judgement(
        id=f"{claim.id}/{p.id}",
        prediction=p,
        claim=claim,
        estimate=None,
        verdict=Verdict.NOT_RUN,
        reason=reason,
        registered=registered,
        seeds=0,
        cells=0,
        cells_trained=0,
        seconds=0.0,
        spread=(),
    )


def _finite(value: float) -> float | None:
    """JSON has no infinity: an end that is open is null."""
    return value if abs(value) < float("inf") else None

"""How a verdict is reached: cells -> those not in the store -> training -> statistic -> rule -> verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import pandas as pd

from lemmata.lab.claim import CellsBySetting, Claim, Frames, Options, Prediction
from lemmata.lab.errors import DataError
from lemmata.lab.figure import Figure
from lemmata.lab.needs import missing
from lemmata.lab.rule import Verdict
from lemmata.lab.stats import Estimate
from lemmata.lab.store import Store
from lemmata.lab.sweep import sweep
from lemmata.lab.table import Table

__all__ = ["Judgement", "Result", "Spread", "check", "judge"]


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

    def _repr_html_(self) -> str:
        # Only a notebook calls this; nothing else in lab knows that there is a show.
        from lemmata.show.notebook import notebook_html

        return notebook_html(self)


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
        engine=options.engine,
        address=options.address,
        slurm=options.slurm,
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
    lost = frame.drop_duplicates("cell")["status"].ne("ok").sum()
    if lost:
        # Their measurements are in the estimate, as errors and as times that were never reached.
        told = f"{lost} of {len(cells)} networks diverged or died, and count as failures"
        reason = f"{reason}; {told}" if reason else told
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
    """The statistic, its verdict, and what forbids one: changed constants can leave too little to estimate."""
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

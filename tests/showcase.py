"""Results to look at: a toy paper whose measurements are made up, so that nothing is trained.

`error` falls with the length l as exp(-rate l), at a width m; `paper()` has a claim of every kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import pandas as pd

from lemmata.lab.check import Judgement, Result, Spread
from lemmata.lab.claim import Claim, Frames, Options, Paper, Prediction
from lemmata.lab.ensemble import Job, Snapshot
from lemmata.lab.figure import Bars, Figure, Panel, Reference, Scatter, curves
from lemmata.lab.grid import ByProfile, Experiment, product
from lemmata.lab.rule import Rule, Verdict, at_most, within
from lemmata.lab.stats import Estimate, mean_t
from lemmata.lab.trainee import Measure, Row, Trainee, constant

LENGTHS = (0, 4, 8, 12, 16, 20)
WIDTHS = (32, 64)


@final
@dataclass(frozen=True, kw_only=True)
class Painted(Trainee):
    kind = "painted"
    version = 1

    lr: float = constant(0.5, "learning rate eta", origin="chosen", room="training", low=0)
    steps: int = constant(200, "steps T", origin="chosen", room="training", low=0, shape=True)
    m: int = constant(32, "width of the network", origin="given", room="network", low=1)
    alpha: float = constant(0.8, "share of relevant examples", origin="given", room="data", high=1)
    sampler: str = constant("iid", "how prompts are drawn", origin="chosen", room="data")

    def work(self) -> float:
        return 1.0

    @classmethod
    def job(cls, configs: Sequence[Painted], seeds: Sequence[int], device: str) -> Job:
        raise AssertionError("nothing is trained here")


@final
@dataclass(frozen=True, kw_only=True)
class Errors(Measure):
    name = "errors"

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        raise AssertionError("nothing is measured here")


LENGTHENING = Experiment(
    name="lengths",
    base=Painted(),
    measures=(Errors(),),
    seeds=ByProfile(3, 5, 8),
    points=ByProfile(*[product(m=WIDTHS)] * 3),
    settings={"slower": {"lr": 0.1}},
)


def frame(*, seeds: int = 5, zeros: bool = True, rng_seed: int = 0) -> pd.DataFrame:
    """Rows as the store gives them."""
    rng = np.random.default_rng(rng_seed)
    rows = []
    for m in WIDTHS:
        for seed in range(seeds):
            constants = {"lr": 0.5, "steps": 200, "m": m, "alpha": 0.8, "sampler": "iid"}
            about = {"cell": f"{m:x}-{seed}", "seed": seed, "status": "ok", "seconds": 30.0}
            for l in LENGTHS:
                value = 0.5 * np.exp(-0.012 * m**0.8 * l) * rng.lognormal(0, 0.1)
                value = 0.0 if zeros and m == WIDTHS[1] and l >= 16 else value
                rows.append({**about, **constants, "metric": "error", "x": l, "value": value})
    return pd.DataFrame(rows)


def error_at(length: int):
    def estimate(rows: pd.DataFrame) -> Estimate:
        return mean_t(rows[(rows["x"] == length) & (rows["m"] == 32)]["value"].to_numpy())

    return estimate


def figure(frames: Frames) -> Figure:
    measured = curves(frames["lengths"], "error", by="m", label="m = {}")
    oracles = [
        Reference(f"oracle, m = {m}", LENGTHS, tuple(0.5 * 0.7**l for l in LENGTHS), "oracle", i)
        for i, m in enumerate(WIDTHS)
    ]
    published = Reference("published", (4, 8, 12), (0.3, 0.1, 0.02), "published")
    threshold = Reference("1 %", (0, 20), (0.01, 0.01), "threshold")
    neurons = Bars("start", (0.1, 0.2, 0.3), (3, 5, 2)), Bars("end", (0.1, 0.2, 0.3), (1, 4, 7), 1)
    return Figure(
        panels=(
            Panel(
                title="error at alpha' = 0.8",
                x="examples l_ts",
                y="0-1 error",
                marks=(*measured, *oracles, published, threshold),
                y_log=True,
            ),
            Panel(title="row norms of W_O", x="norm", y="neurons", marks=neurons),
            Panel(
                title="angles",
                x="angle",
                y="norm",
                marks=(Scatter("a_i > 0", (0.1, 0.4, 0.9), (1, 2, 3), (0, 0.5, 1), 0, "step"),),
            ),
        ),
        caption="0-1 error against the number of examples, for < 2 widths",
    )


def prediction(id: str, rule: Rule, *, length: int = 8, kind: Any = "holds") -> Prediction:
    return Prediction(
        id=id,
        statement=f"The error at l_ts = {length} is small <for all m>",
        kind=kind,
        source="Theorem 1, (ii)",
        of=LENGTHENING,
        statistic=f"0-1 error at l = {length}",
        predicted="at most 0.3",
        estimate=error_at(length),
        rule=rule,
    )


PAPER = Paper(
    id="toy",
    title="How Toys Learn & Generalise",
    authors="Ada Author, Bo Writer",
    venue="TOY 2024",
    arxiv="2400.00000",
    bibliography={
        "toy2024": "@inproceedings{toy2024,\n  title = {How Toys Learn},\n}",
        "other2020": "@article{other2020,\n  title = {Other <things>},\n}",
        "uncited": "@article{uncited}",
    },
    claims=(
        Claim(
            id="toy.lengths",
            title="Longer prompts, smaller error",
            statement="The error falls with l_ts at the rate alpha^(-2/3), where S_1 >= 1.",
            source="Theorem 1, slide 9",
            predictions=(
                prediction("small", at_most(0.3)),
                prediction("zero", at_most(0.001), kind="tight"),
                prediction("half", within(0.28, 0.02)),
            ),
            figure=figure,
            cites=("toy2024", "other2020"),
        ),
        Claim(
            id="toy.data",
            title="On real data",
            statement="It transfers.",
            source="figure 3",
            predictions=(prediction("transfers", at_most(0.1)),),
            figure=figure,
            cites=("toy2024",),
            needs=("data:nowhere",),
        ),
    ),
)


def judged(p: Prediction, claim: Claim, rows: pd.DataFrame, *, registered: bool) -> Judgement:
    estimate = p.estimate(rows)
    other = replace(estimate, value=estimate.value * 3, lo=estimate.lo * 3, hi=estimate.hi * 3)
    return Judgement(
        id=f"{claim.id}/{p.id}",
        prediction=p,
        claim=claim,
        estimate=estimate,
        verdict=p.rule.judge(estimate),
        reason="; ".join(estimate.objections),
        registered=registered,
        seeds=rows["seed"].nunique(),
        cells=rows["cell"].nunique(),
        cells_trained=0,
        seconds=60.0,
        spread=(Spread("slower", other, p.rule.judge(other)),),
    )


def result(*, seeds: int = 5, changes: Mapping[str, Any] | None = None) -> Result:
    """The claim that was run."""
    claim, rows = PAPER.claims[0], frame(seeds=seeds)
    options = Options(profile="quick", seeds=seeds, changes=changes or {})
    verdicts = (judged(p, claim, rows, registered=not changes) for p in claim.predictions)
    return Result(claim=claim, options=options, verdicts=tuple(verdicts), frames={"lengths": rows})


def not_run() -> Result:
    """The claim that lacks its data."""
    claim, options = PAPER.claims[1], Options(profile="quick")
    reason = "needs the data folder nowhere: pass --data DIR"
    verdicts = [
        Judgement(
            id=f"{claim.id}/{p.id}",
            prediction=p,
            claim=claim,
            estimate=None,
            verdict=Verdict.NOT_RUN,
            reason=reason,
            registered=True,
            seeds=0,
            cells=0,
            cells_trained=0,
            seconds=0.0,
            spread=(),
        )
        for p in claim.predictions
    ]
    return Result(claim=claim, options=options, verdicts=tuple(verdicts), frames={})

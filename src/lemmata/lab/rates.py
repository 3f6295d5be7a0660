"""How often intervals and rules are wrong, measured on simulated truths.

`python -m lemmata.lab.rates docs/statistics.md` rewrites the tables of that page: five to ten
minutes on one core.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from scipy.stats import binom

from lemmata.lab import stats
from lemmata.lab.page import check_marks, rewrite
from lemmata.lab.rule import Rule, Verdict
from lemmata.lab.truths import SEEDS, TRUTHS, Truth, bent_line, bent_times

__all__ = [
    "BendRates",
    "Rates",
    "ShareRates",
    "main",
    "measured_bends",
    "measured_rates",
    "measured_shares",
]

BENDS = (0.0, 0.2, 0.4, 0.8)


@final
@dataclass(frozen=True)
class Rates:
    """What a rule said of a truth in `simulations` runs of `seeds` seeds, as shares of them.

    `covers` is the share of the `sound` intervals, those without objection, that hold the true
    value. `confirmed`, `undecided` and `refuted` are the verdicts at the true value, and
    `confirmed_at_edge` is the worst edge's.
    """

    truth: Truth
    seeds: int
    simulations: int
    sound: int
    covers: float
    confirmed_at_edge: float
    confirmed: float
    undecided: float
    refuted: float


@final
@dataclass(frozen=True)
class BendRates:
    """How often an exponent objects when the local slope changes by `bend` along the range."""

    interval: str
    bend: float
    seeds: int
    simulations: int
    objects: float


@final
@dataclass(frozen=True)
class ShareRates:
    """What an interval for a share of seeds does at true shares from 0.05 to 0.95.

    `confirmed_at_edge` is the worst over the rules `at_least(bound)` with a bound of 0.5 or more,
    `confirmed_at_any_edge` over all bounds (`at_most` mirrors both); `highest_bound` is the largest
    that can be confirmed at all, when every seed succeeds.
    """

    interval: str
    seeds: int
    covers_at_least: float
    covers_on_average: float
    confirmed_at_edge: float
    confirmed_at_any_edge: float
    highest_bound: float


def measured_rates(truths: Sequence[Truth], simulations: int, *, entropy: int = 0) -> list[Rates]:
    """Simulate each truth at each of its numbers of seeds, at the true value and at the edges.

    >>> rates = measured_rates(TRUTHS[:1], 20)
    >>> [r.seeds for r in rates]
    [5, 10, 20]
    """
    rows = []
    for truth in truths:
        for seeds in truth.seeds:
            rng = np.random.default_rng([entropy, seeds, zlib.crc32(truth.name.encode())])
            at_true = [truth.draw(rng, seeds, truth.true) for _ in range(simulations)]
            sound = [e for e in at_true if not e.objections]
            verdicts = [truth.rule.judge(e) for e in at_true]
            confirmed_at_edges = [
                sum(truth.rule.judge(truth.draw(rng, seeds, edge)) is Verdict.CONFIRMED for _ in range(simulations))
                for edge in truth.edges
            ]
            row = Rates(
                truth=truth,
                seeds=seeds,
                simulations=simulations,
                sound=len(sound),
                covers=sum(e.lo <= truth.true <= e.hi for e in sound) / max(len(sound), 1),
                confirmed_at_edge=max(confirmed_at_edges) / simulations,
                confirmed=verdicts.count(Verdict.CONFIRMED) / simulations,
                undecided=verdicts.count(Verdict.UNDECIDED) / simulations,
                refuted=verdicts.count(Verdict.REFUTED) / simulations,
            )
            rows.append(row)
    return rows


def measured_bends(simulations: int, *, entropy: int = 0) -> list[BendRates]:
    """How often the curvature check speaks, of straight lines and of bent ones."""
    rows = []
    for interval, draw in (("exponent", bent_line), ("censored_exponent", bent_times)):
        for bend in BENDS:
            for seeds in SEEDS:
                rng = np.random.default_rng([entropy, seeds, round(10 * bend)])
                objected = sum(bool(draw(rng, seeds, bend).objections) for _ in range(simulations))
                rows.append(BendRates(interval, bend, seeds, simulations, objected / simulations))
    return rows


def measured_shares() -> list[ShareRates]:
    """Wilson and Clopper-Pearson by exact enumeration of the successes, without simulation."""
    share_X = np.linspace(0.05, 0.95, 901)
    rows = []
    for interval in (stats.wilson, stats.clopper_pearson):
        for seeds in SEEDS:
            estimates = [interval(k, seeds) for k in range(seeds + 1)]
            lo_K, hi_K = np.array([(e.lo, e.hi) for e in estimates]).T
            chance_XK = binom.pmf(np.arange(seeds + 1), seeds, share_X[:, None])
            inside_XK = (lo_K <= share_X[:, None]) & (share_X[:, None] <= hi_K)
            covers_X = (chance_XK * inside_XK).sum(axis=1)
            # A rule is most often wrong where its bound is the lower end for some k successes.
            at_edge_K = binom.sf(np.arange(seeds), seeds, lo_K[1:])
            row = ShareRates(
                interval=interval.__name__,
                seeds=seeds,
                covers_at_least=float(covers_X.min()),
                covers_on_average=float(covers_X.mean()),
                confirmed_at_edge=float(at_edge_K[lo_K[1:] >= 0.5].max(initial=0.0)),
                confirmed_at_any_edge=float(at_edge_K.max()),
                highest_bound=float(lo_K[-1]),
            )
            rows.append(row)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Rewrite the tables between the markers of a page.

    Raises:
        InputError: the page lacks the markers of a table.
    """
    parser = argparse.ArgumentParser(prog="python -m lemmata.lab.rates", description=__doc__)
    parser.add_argument("page", type=Path, help="the page to rewrite, docs/statistics.md")
    parser.add_argument("--simulations", type=int, default=4000, help="runs behind each number")
    options = parser.parse_args(arguments)
    check_marks(options.page, list(TABLES))
    rewrite(options.page, {name: _markdown(rows(options.simulations)) for name, rows in TABLES.items()})


def _interval_rows(simulations: int) -> list[dict[str, str]]:
    rows = []
    for truth in TRUTHS:
        print(truth.name, file=sys.stderr)
        rows += [
            {
                "truth": truth.name if truth.valid else f"{truth.name} (not valid)",
                "interval": f"`{truth.interval}`",
                "rule": _region(truth.rule),
                "seeds": f"{r.seeds}",
                "covers": _percent(r.covers, r.sound),
                "CONFIRMED at the edge": _percent(r.confirmed_at_edge, simulations),
                "true: CONFIRMED": _percent(r.confirmed, simulations),
                "true: UNDECIDED": _percent(r.undecided, simulations),
                "true: REFUTED": _percent(r.refuted, simulations),
            }
            for r in measured_rates([truth], simulations)
        ]
    return rows


def _bend_rows(simulations: int) -> list[dict[str, str]]:
    print("bends", file=sys.stderr)
    return [
        {
            "interval": f"`{b.interval}`",
            "change of slope": f"{b.bend:g}",
            "seeds": f"{b.seeds}",
            "objects": _percent(b.objects, simulations),
        }
        for b in measured_bends(simulations)
    ]


def _share_rows(_: int) -> list[dict[str, str]]:
    return [
        {
            "interval": f"`{s.interval}`",
            "seeds": f"{s.seeds}",
            "covers at least": f"{100 * s.covers_at_least:.1f}",
            "covers on average": f"{100 * s.covers_on_average:.1f}",
            "CONFIRMED at the edge, bound 0.5 or more": f"{100 * s.confirmed_at_edge:.1f}",
            "CONFIRMED at the edge, any bound": f"{100 * s.confirmed_at_any_edge:.1f}",
            "highest bound": f"{s.highest_bound:.2f}",
        }
        for s in measured_shares()
    ]


# The cells of each table by the heads of its columns.
TABLES: Mapping[str, Callable[[int], list[dict[str, str]]]] = {
    "intervals": _interval_rows,
    "bends": _bend_rows,
    "shares": _share_rows,
}


def _markdown(rows: Sequence[Mapping[str, str]]) -> str:
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _percent(share: float, simulations: int) -> str:
    """A share with its Monte-Carlo error, which at 0 or 1 is that of one case of the other kind."""
    smoothed = (share * simulations + 1) / (simulations + 2)
    error = np.sqrt(smoothed * (1 - smoothed) / (simulations + 2))
    return f"{100 * share:.1f} ± {100 * error:.1f}"


def _region(rule: Rule) -> str:
    return f"at most {rule.hi:.3g}" if np.isinf(rule.lo) else f"{rule.lo:.3g} to {rule.hi:.3g}"


if __name__ == "__main__":
    main()

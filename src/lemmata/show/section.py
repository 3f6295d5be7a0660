"""What the report says of one claim: its predictions, its figure, its constants, its measurements."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import pandas as pd
from markupsafe import Markup

from lemmata.lab.check import Judgement, Result, Spread
from lemmata.lab.errors import DataError
from lemmata.lab.estimate import Estimate
from lemmata.lab.grid import Experiment
from lemmata.lab.rule import Rule, Verdict
from lemmata.lab.trainee import Value
from lemmata.show.draw import caption, figure
from lemmata.show.inline import described, inline_svg
from lemmata.show.words import command, number, setting, shown

__all__ = ["Section", "kind", "section", "strip"]

ROWS_SHOWN = 40
VALUES_SHOWN = 8
WIDE = 6.0
"""Inches above which a figure scrolls sideways on a telephone instead of shrinking."""


def kind(verdict: Verdict) -> str:
    """A verdict as the name of a style class.

    >>> kind(Verdict.NOT_RUN)
    'not-run'
    """
    return verdict.value.lower().replace(" ", "-")


@final
@dataclass(frozen=True)
class Section:
    """What the page says of one claim."""

    anchor: str
    result: Result
    drawing: Markup | None
    caption: str
    no_figure: str
    wide: bool
    lines: list[Line]
    settings: dict[str, str]
    constants: list[Constants]
    header: list[str]
    rows: list[list[str]]
    all_rows: int
    check: str
    table: str
    changed: str


def section(result: Result) -> Section:
    """Everything that the page says of a result."""
    claim, anchor = result.claim, _anchor(result.claim.id)
    drawing, words, no_figure, wide = None, "", "", False
    try:
        data = result.figure if result.frames else None
    except DataError as error:
        data, no_figure = None, f"No figure: expected {error.expected}, got {error.got}."
    if data is not None:
        drawn, words = figure(data), caption(data)
        wide = drawn.get_figwidth() > WIDE
        description = f"{described(data)} {words}"
        drawing = inline_svg(drawn, prefix=anchor, title=claim.title, description=description, themed=True)
    table = result.table.to_pandas()
    settings = {n: setting(c) for e in claim.experiments for n, c in e.settings.items()}
    return Section(
        anchor=anchor,
        result=result,
        drawing=drawing,
        caption=words,
        no_figure=no_figure,
        wide=wide,
        lines=[_line(v) for v in result.verdicts],
        settings=settings,
        constants=[_constants(e, result) for e in claim.experiments],
        header=[str(name) for name in table.columns],
        rows=[[_cell(v) for v in row] for row in table.head(ROWS_SHOWN).itertuples(index=False)],
        all_rows=len(table),
        check=command("check", result),
        table=command("table", result, "--csv"),
        changed=setting(result.options.changes),
    )


def _cell(value: object) -> str:
    missing = value is None or value is pd.NA or (isinstance(value, float) and value != value)
    return "" if missing else number(value)


def _anchor(id: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", id)


@final
@dataclass(frozen=True)
class Line:
    """What the page says of one prediction."""

    anchor: str
    judged: Judgement
    kind: str
    value: str
    interval: str
    strip: Strip | None
    spread: list[tuple[Spread, str, str, str]]


def _line(judged: Judgement) -> Line:
    estimate = judged.estimate
    value, interval = shown(estimate)
    return Line(
        anchor=_anchor(judged.id),
        judged=judged,
        kind=kind(judged.verdict),
        value=value,
        interval=interval,
        strip=None if estimate is None else strip(judged.prediction.rule, estimate),
        spread=[(s, *shown(s.estimate), kind(s.verdict)) for s in judged.spread],
    )


@final
@dataclass(frozen=True)
class Strip:
    """A line on which the region of a rule and an interval lie, in per cent of its length."""

    region: tuple[float, float]
    interval: tuple[float, float]
    value: float | None


def strip(rule: Rule, estimate: Estimate) -> Strip | None:
    """Where the region of the rule and the interval lie beside each other; None for no number.

    >>> strip(Rule(0.0, 1.0), Estimate(1.5, 1.0, 2.0, n=5))
    Strip(region=(10.0, 50.0), interval=(50.0, 90.0), value=70.0)
    >>> strip(Rule(0.0, float("inf")), Estimate(1.0, 0.5, 1.5, n=5)).region
    (10.0, 100.0)
    """
    ends = [rule.lo, rule.hi, estimate.lo, estimate.hi, estimate.value]
    finite = [end for end in ends if abs(end) < float("inf")]
    lo, hi = min(finite), max(finite)
    if lo == hi or estimate.value != estimate.value:
        return None

    def place(value: float) -> float:
        return min(max(10 + 80 * (value - lo) / (hi - lo), 0.0), 100.0)

    return Strip(
        region=(place(rule.lo), place(rule.hi)),
        interval=(place(estimate.lo), place(estimate.hi)),
        value=place(estimate.value),
    )


@final
@dataclass(frozen=True)
class Constants:
    """The constants of one experiment: name, value, meaning, and who fixed it."""

    experiment: str
    rows: list[tuple[str, str, str, str]]
    given: int
    chosen: int


def _constants(experiment: Experiment, result: Result) -> Constants:
    rows = []
    for name, about in experiment.base.constants().items():
        value = _values(experiment, name, result)
        origin = "changed" if name in result.options.changes else about.origin
        rows.append((name, value, about.meaning, origin))
    known = experiment.changeable()
    changes = {name: value for name, value in result.options.changes.items() if name in known}
    for name, (about, values) in experiment.coordinates(changes).items():
        rows.append((name, _listed(values), about.meaning, "changed" if name in changes else about.origin))
    origins = [origin for *_, origin in rows]
    return Constants(experiment.name, rows, origins.count("given"), origins.count("chosen"))


def _values(experiment: Experiment, name: str, result: Result) -> str:
    """The values of a constant in the grid of this result."""
    known, options = experiment.changeable(), result.options
    changes = {name: value for name, value in options.changes.items() if name in known}
    cells = experiment.cells(options.profile, seeds=1, changes=changes)
    return _listed({getattr(cell.config, name) for cell in cells})


def _listed(values: Iterable[Value]) -> str:
    words = [number(value) for value in sorted(values, key=_order)]
    if len(words) > VALUES_SHOWN:
        words = [*words[: VALUES_SHOWN - 1], "…", words[-1]]
    return ", ".join(words)


def _order(value: Value) -> tuple[bool, Value]:
    return isinstance(value, str), value

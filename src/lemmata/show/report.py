"""One page that says what was tested, what came out and why to believe it.

The page is a single file without scripts that loads nothing: it opens from a disk, prints, and can
be sent by mail. `templates/report.html` has its words, this module what they speak of.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import final

import jinja2
import pandas as pd
from markupsafe import Markup

from lemmata.lab.claim import Judgement, Paper, Result, Spread
from lemmata.lab.errors import DataError
from lemmata.lab.grid import Experiment
from lemmata.lab.rule import Rule, Verdict
from lemmata.lab.estimate import Estimate
from lemmata.lab.trainee import Value
from lemmata.show.draw import caption, figure
from lemmata.show.inline import described, inline_svg
from lemmata.show.notation import html
from lemmata.show.output import check_output, write_whole
from lemmata.show.words import command, count, duration, interval, number, setting

__all__ = ["report", "write_report"]

ROWS_SHOWN = 40
VALUES_SHOWN = 8
WIDE = 6.0
"""Inches above which a figure scrolls sideways on a telephone instead of shrinking."""

PACKAGES = ("lemmata", "torch", "numpy", "scipy", "scikit-learn", "pandas", "pyarrow", "matplotlib")
MEANING = {
    Verdict.CONFIRMED: "The whole 95 % interval lies where the prediction says.",
    Verdict.REFUTED: "The whole 95 % interval lies elsewhere. With the paper's own constants this is "
    "a result about the paper, not a failed run.",
    Verdict.UNDECIDED: "The interval reaches over the edge, or something forbids a verdict: more "
    "seeds are needed, or another experiment.",
    Verdict.NOT_RUN: "Measurements, data or a package are missing; the reason is given.",
}


def write_report(
    path: Path | str, results: Sequence[Result], *, papers: Sequence[Paper], force: bool = False
) -> Path:
    """Write the report of these results, whole or not at all.

    Raises:
        OutputError: the file cannot be written there, or is there already and `force` is not set.
    """
    path = check_output(path, endings=(".html", ".htm"), force=force)
    write_whole(path, report(results, papers=papers).encode())
    return path


def report(results: Sequence[Result], *, papers: Sequence[Paper]) -> str:
    """The report of these results as the text of one HTML page; `papers` are those of the claims."""
    asked = {result.claim.paper for result in results}
    papers = [paper for paper in papers if paper.id in asked]
    judged = [verdict for result in results for verdict in result.verdicts]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"math": html, "number": number}
    environment.globals |= {"count": count}
    return environment.get_template("report.html").render(
        papers=papers,
        date=f"{datetime.now(UTC):%-d %B %Y, %H:%M} UTC",
        judged=len(judged),
        claims=len(results),
        networks=len(_cells(results)),
        chance=number(round(0.05 * sum(v.estimate is not None for v in judged), 1)),
        tally=[_tally(verdict, judged) for verdict in Verdict],
        scale=_scale(results),
        unregistered=any(not v.registered for v in judged),
        sections=[_section(result) for result in results],
        bibliography=_bibliography(results, papers),
        provenance=_provenance(results),
    )


@final
@dataclass(frozen=True)
class Tally:
    """How many predictions have this verdict, and what it means."""

    verdict: str
    kind: str
    meaning: str
    number: int


def _tally(verdict: Verdict, judged: Sequence[Judgement]) -> Tally:
    number = sum(j.verdict is verdict for j in judged)
    return Tally(verdict.value, _kind(verdict), MEANING[verdict], number)


def _kind(verdict: Verdict) -> str:
    """A verdict as the name of a style class."""
    return verdict.value.lower().replace(" ", "-")


def _scale(results: Sequence[Result]) -> str:
    """The profiles and seeds behind the results, in words."""
    profiles: dict[str, set[int]] = {}
    for result in results:
        seeds = {v.seeds for v in result.verdicts if v.verdict is not Verdict.NOT_RUN}
        if seeds:
            profiles.setdefault(result.options.profile, set()).update(seeds)
    return "; ".join(
        f"profile {profile}, {_range(seeds)} a condition" for profile, seeds in profiles.items()
    )


def _range(seeds: set[int]) -> str:
    few, many = min(seeds), max(seeds)
    return count(many, "seed") if few == many else f"{few} to {count(many, 'seed')}"


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


def _section(result: Result) -> Section:
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
        drawing = inline_svg(
            drawn, prefix=anchor, title=claim.title, description=description, themed=True
        )
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
    return Line(
        anchor=_anchor(judged.id),
        judged=judged,
        kind=_kind(judged.verdict),
        value="" if estimate is None else number(estimate.value),
        interval=interval(estimate),
        strip=None if estimate is None else strip(judged.prediction.rule, estimate),
        spread=[
            (s, number(s.estimate.value), interval(s.estimate), _kind(s.verdict))
            for s in judged.spread
        ],
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
    origins = [origin for *_, origin in rows]
    return Constants(experiment.name, rows, origins.count("given"), origins.count("chosen"))


def _values(experiment: Experiment, name: str, result: Result) -> str:
    """The values of a constant in the grid of this result."""
    configs = {cell.config for cell in _grid(experiment, result)}
    values: list[Value] = sorted({getattr(config, name) for config in configs}, key=_order)
    words = [number(value) for value in values]
    if len(words) > VALUES_SHOWN:
        words = [*words[: VALUES_SHOWN - 1], "…", words[-1]]
    return ", ".join(words)


def _order(value: Value) -> tuple[bool, Value]:
    return isinstance(value, str), value


def _grid(experiment: Experiment, result: Result):
    options = result.options
    known = experiment.base.constants()
    changes = {name: value for name, value in options.changes.items() if name in known}
    return experiment.cells(options.profile, seeds=1, changes=changes)


def _cells(results: Sequence[Result]) -> dict[str, float]:
    """The seconds behind each cell of the registered setting, each once: claims share them."""
    seconds: dict[str, float] = {}
    for result in results:
        for frame in result.frames.values():
            cells = frame.drop_duplicates("cell")
            seconds |= dict(zip(cells["cell"].astype(str), cells["seconds"], strict=True))
    return seconds


def _bibliography(results: Sequence[Result], papers: Sequence[Paper]) -> dict[str, str]:
    entries: dict[str, str] = {}
    for paper in papers:
        cited = {key for r in results if r.claim.paper == paper.id for key in r.claim.cites}
        first = next(iter(paper.bibliography), None)
        entries |= {k: v for k, v in paper.bibliography.items() if k in cited or k == first}
    return entries


def _provenance(results: Sequence[Result]) -> Mapping[str, str]:
    seconds = sum(_cells(results).values())
    return {
        "Software": ", ".join(f"{name} {version(name)}" for name in PACKAGES)
        + f", Python {platform.python_version()}",
        "Machine that wrote this page": f"{_processor()}, {count(os.cpu_count() or 1, 'core')}, "
        f"{platform.system()} {platform.machine()}",
        "Training and measuring behind these verdicts": f"{duration(seconds)} of computing, "
        "whenever it was done",
    }


def _processor() -> str:
    """The processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"

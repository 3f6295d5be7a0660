"""One page that says what was tested, what came out and why to believe it.

The page is a single file without scripts that loads nothing: it opens from a disk, prints, and can
be sent by mail. `templates/report.html` has its words, this module what they speak of.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import final

import jinja2

from lemmata.lab.check import Judgement, Result
from lemmata.lab.claim import Paper
from lemmata.lab.rule import Verdict
from lemmata.show.notation import html
from lemmata.show.output import check_output, write_whole
from lemmata.show.section import kind, section
from lemmata.show.words import count, duration, number

__all__ = ["report", "write_report"]

PACKAGES = ("lemmata", "torch", "numpy", "scipy", "scikit-learn", "pandas", "pyarrow", "matplotlib")
MEANING = {
    Verdict.CONFIRMED: "The whole 95 % interval lies where the prediction says.",
    Verdict.REFUTED: "The whole 95 % interval lies elsewhere. With the paper's own constants this is "
    "a result about the paper, not a failed run.",
    Verdict.UNDECIDED: "The interval reaches over the edge, or something forbids a verdict: more "
    "seeds are needed, or another experiment.",
    Verdict.NOT_RUN: "Measurements, data or a package are missing; the reason is given.",
}


def write_report(path: Path | str, results: Sequence[Result], *, papers: Sequence[Paper], force: bool = False) -> Path:
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
        predictions=len(judged),
        judged=sum(v.verdict is not Verdict.NOT_RUN for v in judged),
        claims=len(results),
        networks=len(_cells(results)),
        chance=number(round(0.05 * sum(v.estimate is not None for v in judged), 1)),
        tally=[_tally(verdict, judged) for verdict in Verdict],
        scale=_scale(results),
        unregistered=any(not v.registered for v in judged),
        sections=[section(result) for result in results],
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
    return Tally(verdict.value, kind(verdict), MEANING[verdict], number)


def _scale(results: Sequence[Result]) -> str:
    """The profiles and seeds behind the results, in words."""
    profiles: dict[str, set[int]] = {}
    for result in results:
        seeds = {v.seeds for v in result.verdicts if v.verdict is not Verdict.NOT_RUN}
        if seeds:
            profiles.setdefault(result.options.profile, set()).update(seeds)
    return "; ".join(f"profile {profile}, {_range(seeds)} a condition" for profile, seeds in profiles.items())


def _range(seeds: set[int]) -> str:
    few, many = min(seeds), max(seeds)
    return count(many, "seed") if few == many else f"{few} to {count(many, 'seed')}"


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
        "Software": ", ".join(f"{name} {version(name)}" for name in PACKAGES) + f", Python {platform.python_version()}",
        "Machine that wrote this page": f"{_processor()}, {count(os.cpu_count() or 1, 'core')}, "
        f"{platform.system()} {platform.machine()}",
        "Training and measuring behind these verdicts": f"{duration(seconds)} of computing, whenever it was done",
    }


def _processor() -> str:
    """The processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"

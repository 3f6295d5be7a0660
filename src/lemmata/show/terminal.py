"""Verdicts, plans and claims in a terminal; plain lines where the output goes elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from lemmata.lab.check import Judgement, Result
from lemmata.lab.claim import Paper
from lemmata.lab.rule import Verdict
from lemmata.lab.sweep import Plan
from lemmata.show.words import count, duration, setting, shown

__all__ = ["Listing", "claim_table", "plan_table", "terminal", "verdict_table"]

COLOUR = {
    Verdict.CONFIRMED: "bold green",
    Verdict.REFUTED: "bold red",
    Verdict.UNDECIDED: "yellow",
    Verdict.NOT_RUN: "dim",
}
# What a choice of how many networks are trained together rests on.
SOURCES = {"measured": "measured", "similar": "as a similar one that was measured", "usual": "not measured"}
STYLES = {verdict.value: style for verdict, style in COLOUR.items()}


def terminal() -> Console:
    """Where results are printed: stdout, without wrapping lines that a program reads."""
    console = Console(highlight=False)
    console.soft_wrap = not console.is_terminal
    return console


@final
@dataclass(frozen=True)
class Listing:
    """Rows under a header, then lines of text: a table in a terminal, aligned columns elsewhere."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    remarks: tuple[str, ...] = ()
    folded: str = ""
    """The column that may take several lines in a terminal; the others are kept whole."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        if console.is_terminal:
            yield self._table()
        else:
            yield from self._lines()
        for remark in self.remarks:
            yield Text(remark)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for name in self.header:
            table.add_column(name, overflow="fold", no_wrap=name != self.folded)
        for row in self.rows:
            table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
        return table

    def _lines(self) -> Iterator[Text]:
        lines = (self.header, *self.rows)
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.header))]
        for line in lines:
            cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            yield Text("  ".join(cells).rstrip())


def verdict_table(results: Sequence[Result]) -> Listing:
    """One line a prediction, then how many came out how, and why the open ones are open."""
    judged = [verdict for result in results for verdict in result.verdicts]
    tally = ", ".join(f"{n} {verdict}" for verdict in Verdict if (n := sum(j.verdict is verdict for j in judged)))
    changed = {setting(r.options.changes): None for r in results if r.options.changes}
    return Listing(
        header=("prediction", "verdict", "estimate", "95 % interval", "predicted", "seeds"),
        rows=tuple(_verdict_row(j) for j in judged),
        remarks=(
            "",
            f"{count(len(judged), 'prediction')}: {tally}" if judged else "nothing to judge",
            *(f"not the registered constants: {words}" for words in changed),
            *(line for result in results for line in _reasons(result)),
        ),
        folded="predicted",
    )


def _reasons(result: Result) -> Iterator[str]:
    """Why predictions are open, a line each; a line for the claim where all are open for one reason."""
    reasons = {j.reason for j in result.verdicts}
    if len(result.verdicts) > 1 and len(reasons) == 1 and (reason := reasons.pop()):
        yield f"{result.claim.id}: {reason}"
        return
    yield from (f"{j.id}: {j.reason}" for j in result.verdicts if j.reason)


def _verdict_row(judged: Judgement) -> tuple[str, ...]:
    value, interval = shown(judged.estimate)
    return (
        judged.id,
        judged.verdict.value,
        value,
        interval,
        judged.prediction.predicted,
        str(judged.seeds),
    )


def plan_table(plan: Plan, rows: Sequence[Mapping[str, object]]) -> Listing:
    """One line a claim (its `id`, `cells`, `stored`, and in `missing` what it lacks), then the sum.

    Claims share cells, so that the sum is less than its parts.
    """
    new = plan.cells - plan.stored
    if new:
        parts = f"{count(plan.chunks, 'chunk')} of up to {count(plan.chunk_size, 'network')}"
        time = f"about {duration(60 * plan.minutes)} on {count(plan.workers, 'worker')}{_where(plan)}"
        todo = f"{count(new, 'cell')} to train, in {parts}: {time}"
    else:
        todo = "nothing to train"
    return Listing(
        header=("claim", "cells", "stored", ""),
        rows=tuple(_plan_row(row) for row in rows),
        remarks=("", f"{count(plan.cells, 'cell')} in all, {plan.stored} stored; {todo}", *_choices(plan)),
        folded="",
    )


def _choices(plan: Plan) -> list[str]:
    """A line for each way in which networks of a kind are trained, the most work first."""
    shapes = Counter((each.kind, each.together, each.compile, each.source) for each in plan.choices)
    lines = []
    for (kind, together, compile, source), number in shapes.items():
        compiled = ", compiled" if compile else ""
        lines.append(f"{kind}: up to {together} together{compiled} ({count(number, 'shape')}, {SOURCES[source]})")
    return lines


def _where(plan: Plan) -> str:
    return "" if plan.engine == "local" else f" ({plan.engine})"


def _plan_row(row: Mapping[str, object]) -> tuple[str, ...]:
    missing = row.get("missing") or ()
    assert isinstance(missing, (list, tuple))
    return str(row["id"]), str(row["cells"]), str(row["stored"]), "; ".join(missing)


def claim_table(papers: Sequence[Paper]) -> Listing:
    """One line a claim with its source, paper after paper."""
    rows = [
        row
        for paper in papers
        for row in (
            (paper.id, paper.title, f"{paper.venue}, arXiv {paper.arxiv}"),
            *((claim.id, claim.title, claim.source) for claim in paper.claims),
        )
    ]
    return Listing(header=("id", "title", "source"), rows=tuple(rows), folded="source")

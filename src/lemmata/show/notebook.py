"""A result as a cell of a notebook shows it: its verdicts, its figure, its table."""

from __future__ import annotations

import hashlib

from markupsafe import Markup

from lemmata.lab.check import Judgement, Result
from lemmata.lab.errors import DataError
from lemmata.show.draw import caption, figure
from lemmata.show.inline import described, inline_svg
from lemmata.show.notation import html
from lemmata.show.words import setting, shown

__all__ = ["notebook_html"]

HEADER = ("prediction", "verdict", "estimate", "95 % interval", "predicted", "seeds")
PAPER = "background:#ffffff;color:#1b1b1d;overflow-x:auto"


def notebook_html(result: Result) -> str:
    """A result as HTML: the verdicts, the figure with its caption, and the measurements, folded."""
    changed = setting(result.options.changes)
    note = Markup("<p><b>Not the registered constants:</b> {}</p>").format(changed)
    parts = [
        Markup("<p><b>{}</b> <code>{}</code></p>").format(html(result.claim.title), result.claim.id),
        note if changed else Markup(),
        _verdicts(result),
        _drawing(result),
        Markup("<details><summary>{} rows of measurements</summary>{}</details>").format(
            len(result.table), Markup(result.table._repr_html_())
        ),
    ]
    return str(Markup("<div>{}</div>").format(Markup().join(parts)))


def _verdicts(result: Result) -> Markup:
    header = Markup().join(Markup("<th>{}</th>").format(name) for name in HEADER)
    rows = Markup().join(_row(judged) for judged in result.verdicts)
    return Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(header, rows)


def _row(judged: Judgement) -> Markup:
    value, interval = shown(judged.estimate)
    cells = (
        judged.id,
        Markup("<b>{}</b>").format(judged.verdict.value),
        value,
        interval,
        html(judged.prediction.predicted),
        judged.seeds,
    )
    return Markup("<tr>{}</tr>").format(Markup().join(Markup("<td>{}</td>").format(c) for c in cells))


def _drawing(result: Result) -> Markup:
    """The figure on white, whatever the notebook's theme; no figure where there is nothing to draw."""
    try:
        data = result.figure if result.frames else None
    except DataError:
        data = None
    if data is None:
        return Markup()
    drawn = figure(data)
    # A page of notebook cells may hold the same claim twice; two drawings share ids only if equal.
    prefix = "lemmata-" + hashlib.blake2b(repr(data).encode(), digest_size=6).hexdigest()
    picture = inline_svg(drawn, prefix=prefix, title=result.claim.title, description=described(data), themed=False)
    words = html(caption(data))
    return Markup("<div style='{}'>{}</div><p>{}</p>").format(PAPER, picture, words)

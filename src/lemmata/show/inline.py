"""A figure inside a page: SVG whose ids meet no others, with words for those who do not see it."""

from __future__ import annotations

import re

from markupsafe import Markup, escape
from matplotlib.figure import Figure as Canvas

from lemmata.lab import figure as declared
from lemmata.show.output import svg
from lemmata.show.style import COLOURS, INK, PAPER

__all__ = ["described", "inline_svg"]


def inline_svg(drawn: Canvas, *, prefix: str, title: str, description: str, themed: bool) -> Markup:
    """The drawing as an element of an HTML page.

    `prefix` goes before every id, `title` and `description` are what a screen reader says. With
    `themed` the page gives the colours: the letters' own is that of its text, and `--figure-paper`,
    `--figure-0` ... `--figure-6` that of the background and of the groups.
    """
    text = svg(drawn)
    text = text[text.index("<svg") :].rstrip()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\s(xmlns|xmlns:xlink|version)="[^"]*"', "", text)
    text = re.sub(r'(\sid="|url\(#|href="#)', rf"\g<1>{prefix}-", text)
    if themed:
        text = text.replace(INK, "currentColor").replace(PAPER, f"var(--figure-paper, {PAPER})")
        for i, colour in enumerate(COLOURS):
            text = text.replace(colour, f"var(--figure-{i}, {colour})")
    ids = f"{prefix}-title {prefix}-description"
    words = (
        f'<title id="{prefix}-title">{escape(title)}</title>'
        f'<desc id="{prefix}-description">{escape(description)}</desc>'
    )
    opening, rest = text.split(">", 1)
    return Markup(f'{opening} role="img" aria-labelledby="{ids}">{words}{rest}')


def described(data: declared.Figure) -> str:
    """What the panels show, in words.

    >>> line = declared.Curve("measured", (2, 4), (0.4, 0.1), (0.3, 0.05), (0.5, 0.2), n=5)
    >>> panel = declared.Panel(title="one layer", x="length", y="error", marks=(line,))
    >>> described(declared.Figure(panels=(panel,), caption="Error."))
    'one layer: error against length, for measured.'
    """
    return " ".join(_panel(panel) for panel in data.panels)


def _panel(panel: declared.Panel) -> str:
    labels = dict.fromkeys(mark.label for mark in panel.marks if mark.label)
    title = f"{panel.title}: " if panel.title else ""
    return f"{title}{panel.y} against {panel.x}, for {'; '.join(labels)}."

"""Files that are written whole or not at all, and figures in the formats that papers take."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_pgf import LatexError
from matplotlib.figure import Figure as Canvas
from matplotlib.text import Text

from lemmata.lab import figure as declared
from lemmata.lab.claim import Result
from lemmata.lab.errors import OutputError
from lemmata.show.draw import figure
from lemmata.show.style import rc, venue_style

__all__ = ["FIGURE_ENDINGS", "check_output", "save", "svg", "write_whole"]

FIGURE_ENDINGS = (".png", ".svg", ".pdf", ".pgf")
LATEX = ("pdflatex", "xelatex", "lualatex")
GREEK = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi"
MATHS = {chr(0x3B1 + i): f"\\{name}" for i, name in enumerate(GREEK.split())} | {
    letter: f"\\{name}"
    for letter, name in zip(
        "πρστφχψωΓΔΘΛΣΦΨΩ≤≥≠≈×·±→∞−",
        "pi rho sigma tau phi chi psi omega Gamma Delta Theta Lambda Sigma Phi Psi Omega "
        "leq geq neq approx times cdot pm to infty -".split(),
        strict=True,
    )
}
NO_DATES = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".pgf": {},
}
"""What would make two files of the same figure differ."""


def check_output(path: Path | str, *, endings: Sequence[str], force: bool) -> Path:
    """Refuse, before any work is done, a file that could not be written at the end of it.

    Raises:
        OutputError: another ending, no such folder, a folder in its place, or a file that is there
            already and not to be replaced (`force`).
    """
    path = Path(path)
    if path.suffix.lower() not in endings:
        got = path.suffix or f"{path.name}, which has none"
        fix = f"name the file with {' or '.join(endings)}"
        raise OutputError(f"an output file that ends in {', '.join(endings)}", got, fix)
    if not path.parent.is_dir():
        raise OutputError("an output file in a folder that exists", str(path), f"make {path.parent}")
    if path.is_dir():
        raise OutputError("the name of an output file", f"the folder {path}", "name a file in it")
    if path.exists() and not force:
        raise OutputError("an output file that is not there yet", str(path), "pass --force to replace it")
    return path


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name beside it and rename it, so that nobody finds half of it.

    Raises:
        OutputError: the folder cannot be written to, or the disk is full.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        got = f"{path}: {error.strerror}"
        raise OutputError("an output file that can be written", got, "choose another folder") from error


def save(
    source: Result | declared.Figure, path: Path | str, *, venue: str | None = None, force: bool = False
) -> Path:
    """Draw a result, or a figure as data, into a file: png, svg, pdf or pgf by its ending.

    Raises:
        OutputError: the file cannot be written there, or not in this format (pgf needs LaTeX), or
            the venue is unknown.
    """
    path = check_output(path, endings=FIGURE_ENDINGS, force=force)
    ending = path.suffix.lower()
    settings = rc(venue_style(venue)) | (_latex() if ending == ".pgf" else {})
    drawn = figure(source, venue=venue)
    if ending == ".pgf":
        _prepare_for_tex(drawn)
    write_whole(path, _rendered(drawn, ending, settings))
    return path


def svg(drawn: Canvas) -> str:
    """A drawing as the text of an SVG file."""
    return _rendered(drawn, ".svg", rc(venue_style(None))).decode()


def _rendered(drawn: Canvas, ending: str, settings: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    with matplotlib.rc_context(settings):
        try:
            drawn.savefig(file, format=ending.removeprefix("."), metadata=NO_DATES[ending])
        except LatexError as error:
            fix = "use no TeX commands in labels that LaTeX lacks, or write a .pdf"
            raise OutputError("labels that LaTeX can set", str(error).splitlines()[0], fix) from error
    return file.getvalue()


def _latex() -> dict[str, Any]:
    """The settings for pgf, whose letters are set, and here measured, by LaTeX."""
    program = next((name for name in LATEX if shutil.which(name)), None)
    if program is None:
        fix = "install TeX Live with its pictures, or write a .pdf"
        raise OutputError(f"LaTeX on the PATH for a pgf figure ({', '.join(LATEX)})", "none", fix)
    return {"pgf.texsystem": program}


def _prepare_for_tex(drawn: Canvas) -> None:
    """Text as LaTeX reads it, and no picture files beside the pgf file."""
    for text in drawn.findobj(Text):
        assert isinstance(text, Text)
        text.set_text(tex(text.get_text()))
    for artist in drawn.findobj(lambda a: bool(a.get_rasterized())):
        artist.set_rasterized(False)


def tex(text: str) -> str:
    r"""Plain text with mathematics between dollars, as LaTeX of any age reads it.

    >>> tex("α' ≥ 80 % of $S_1$, row_norm")
    "$\alpha$' $\geq$ 80 \% of $S_1$, row\_norm"
    """
    parts = text.split("$")
    if len(parts) % 2 == 0:  # a dollar without its partner is a dollar
        parts = [r"\$".join(parts)]
    plain = [_plain_tex(part) if i % 2 == 0 else f"${part}$" for i, part in enumerate(parts)]
    return "".join(plain)


def _plain_tex(text: str) -> str:
    escaped = re.sub(r"(?<!\\)([&%#_{}])", r"\\\1", text)
    return "".join(f"${MATHS[c]}$" if c in MATHS else c for c in escaped)

"""Files that are written whole or not at all, and figures in the formats that papers take."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_pgf import LatexError
from matplotlib.figure import Figure as Canvas
from matplotlib.text import Text

from lemmata.lab import figure as declared
from lemmata.lab import files
from lemmata.lab.check import Result
from lemmata.lab.errors import OutputError
from lemmata.show.draw import figure
from lemmata.show.notation import tex
from lemmata.show.style import rc, venue_style

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

__all__ = ["FIGURE_ENDINGS", "check_output", "save", "svg", "write_whole"]

FIGURE_ENDINGS = (".png", ".svg", ".pdf", ".pgf")
LATEX = ("pdflatex", "xelatex", "lualatex")
NO_DATES = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
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
    try:
        files.write_whole(path, content)
    except OSError as error:
        got = f"{path}: {error.strerror}"
        raise OutputError("an output file that can be written", got, "choose another folder") from error


def save(source: Result | declared.Figure, path: Path | str, *, venue: str | None = None, force: bool = False) -> Path:
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


def _rendered(drawn: Canvas, ending: str, settings: dict[RcKeyType, Any]) -> bytes:
    file = io.BytesIO()
    write = partial(drawn.savefig, file, format=ending.removeprefix("."))
    with matplotlib.rc_context(settings):
        if ending != ".pgf":
            _freeze(drawn)
        try:
            # The pgf format has no metadata and takes none.
            write(metadata=NO_DATES[ending]) if ending in NO_DATES else write()
        except (LatexError, ValueError) as error:
            fix = "use no TeX commands in labels that LaTeX lacks, or write a .pdf"
            raise OutputError("labels that LaTeX can set", str(error).splitlines()[0], fix) from error
    return file.getvalue()


def _freeze(drawn: Canvas) -> None:
    """Solve the layout once and round it.

    The solver's last digits differ from run to run, and an SVG names its parts after them.
    """
    if (engine := drawn.get_layout_engine()) is not None:
        engine.execute(drawn)
    drawn.set_layout_engine("none")
    for ax in drawn.axes:
        ax.set_position(np.round(ax.get_position(original=True).bounds, 5).tolist())


def _latex() -> dict[RcKeyType, Any]:
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

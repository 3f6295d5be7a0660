"""How a figure looks: the widths and letter sizes of the venues, and one palette for everybody.

The palette is Okabe and Ito's, told apart with any kind of colour vision, without its yellow,
which vanishes on paper; each colour comes with a marker of its own, for print without colour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from lemmata.lab.errors import OutputError, nearest

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

__all__ = [
    "COLOURS",
    "INK",
    "MARKERS",
    "MUTED",
    "PAPER",
    "SHADES",
    "VENUES",
    "Venue",
    "group_style",
    "rc",
    "venue_style",
]

INK = "#1b1b1d"
MUTED = "#77777c"
PAPER = "#ffffff"
SHADES = "viridis"

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5b4a9c")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")


@final
@dataclass(frozen=True, kw_only=True)
class Venue:
    """Widths in inches, letter sizes in points.

    `column` is the width of a figure with one panel, `text` of one with more; `letter` is how wide
    a letter of the fonts is on average, in letter sizes.
    """

    column: float
    text: float
    body: float
    small: float
    fonts: tuple[str, ...]
    letter: float


# Both fonts come with Matplotlib, so a figure is the same on every machine; STIX is cut like Times.
# The second one has the letters that the first lacks.
TIMES = ("STIXGeneral", "DejaVu Serif")
VENUES = {
    "icml": Venue(column=3.25, text=6.75, body=8, small=7, fonts=TIMES, letter=0.44),
    "neurips": Venue(column=5.5, text=5.5, body=9, small=8, fonts=TIMES, letter=0.44),
    "iclr": Venue(column=5.5, text=5.5, body=9, small=8, fonts=TIMES, letter=0.44),
}
SCREEN = Venue(column=5.2, text=8.6, body=9, small=8, fonts=("DejaVu Sans",), letter=0.54)


def venue_style(name: str | None) -> Venue:
    """The style of a venue; without a name, that of the screen and the report.

    Raises:
        OutputError: no such venue.

    >>> venue_style("icml").column
    3.25
    """
    if name is None:
        return SCREEN
    if name not in VENUES:
        raise OutputError("a venue whose style is known", name, nearest(name, VENUES))
    return VENUES[name]


def group_style(group: int) -> tuple[str, str]:
    """Colour and marker of a group of curves; 56 groups pass before a pair comes again.

    >>> group_style(0)
    ('#0072b2', 'o')
    """
    return COLOURS[group % len(COLOURS)], MARKERS[group % len(MARKERS)]


def rc(venue: Venue) -> dict[RcKeyType, Any]:
    """Matplotlib's settings for a venue, whatever the user's own are.

    Fonts go into a PDF whole (type 42), as the venues ask, and letters into an SVG as paths, so
    that it looks the same everywhere. The fixed salt makes the ids in an SVG the same every time.
    """
    return {
        "font.family": list(venue.fonts),
        "font.size": venue.body,
        "axes.titlesize": venue.body,
        "axes.labelsize": venue.body,
        "xtick.labelsize": venue.small,
        "ytick.labelsize": venue.small,
        "legend.fontsize": venue.small,
        "mathtext.fontset": "stix" if venue.fonts == TIMES else "dejavusans",
        "text.usetex": False,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.titlecolor": INK,
        "axes.edgecolor": INK,
        "axes.facecolor": "none",
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.unicode_minus": True,
        "axes.axisbelow": True,
        "figure.facecolor": PAPER,
        "savefig.facecolor": PAPER,
        "figure.dpi": 100,
        "savefig.dpi": 300,
        "savefig.bbox": None,
        "xtick.color": INK,
        "ytick.color": INK,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.minor.width": 0.4,
        "ytick.minor.width": 0.4,
        "lines.linewidth": 1.3,
        "lines.markersize": 0.4 * venue.body,
        "legend.frameon": False,
        "legend.handlelength": 2.2,
        "legend.columnspacing": 1.4,
        "legend.labelspacing": 0.35,
        "legend.borderaxespad": 0.0,
        "pdf.fonttype": 42,
        "ps.fonttype": 42,
        "svg.fonttype": "path",
        "svg.hashsalt": "lemmata",
        "pgf.rcfonts": False,
    }

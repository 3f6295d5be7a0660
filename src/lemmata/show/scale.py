"""Axes that hide nothing: limits, ticks, and a place for zero on a logarithmic axis.

An error that was measured to be zero has no place on a logarithmic axis. It is drawn below a break,
at a tick that reads 0, rather than left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullFormatter, NullLocator
from matplotlib.transforms import Bbox, TransformedBbox
from numpy.typing import ArrayLike, NDArray

from lemmata.show.style import INK

__all__ = ["Scale"]

MOST_TICKS = 7


@final
@dataclass(frozen=True)
class Scale:
    """One axis: whether it is logarithmic, its limits and ticks.

    Where a logarithmic axis must show values that are not positive, `zero` is where they are drawn,
    below a break, and `floor` the least positive value above it.
    """

    log: bool
    lo: float
    hi: float
    floor: float
    zero: float | None
    zero_label: str
    ticks: tuple[float, ...]

    @classmethod
    def of(
        cls,
        values: ArrayLike,
        *,
        log: bool,
        limits: tuple[float, float] | None = None,
        prefer: ArrayLike = (),
    ) -> Scale:
        """The axis that shows all finite values, or the given limits of them.

        `prefer` are values to put the ticks of a logarithmic axis at, where they are few: the
        settings that were tried. With no positive value there is nothing to take a logarithm of,
        and the axis is linear.
        """
        array = np.asarray(values, float).ravel()
        array = array[np.isfinite(array)]
        positive = array[array > 0]
        if not log or not len(positive):
            lo, hi = limits or _padded(array)
            return cls(False, lo, hi, lo, None, "", ())
        lo, hi = limits or _padded_log(positive)
        ticks = _ticks(lo, hi, np.unique(np.asarray(prefer, float)))
        if not (array <= 0).any():
            return cls(True, lo, hi, lo, None, "", ticks)
        gap = 10 ** (0.09 * max(np.log10(hi / lo), 1.0))
        label = "≤ 0" if (array < 0).any() else "0"
        return cls(True, lo / gap**1.5, hi, lo, lo / gap, label, ticks)

    def place(self, values: ArrayLike) -> NDArray[np.float64]:
        """Where on the axis the values are drawn; what lies beyond its edges is just outside."""
        array = np.asarray(values, float)
        if not self.log:
            span = self.hi - self.lo
            return np.clip(array, self.lo - 9 * span, self.hi + 9 * span)
        below = self.lo * 1e-6 if self.zero is None else self.zero
        with np.errstate(invalid="ignore"):
            return np.clip(np.where(array > 0, array, below), self.lo * 1e-6, self.hi * 1e6)

    def clip_at_break(self, ax: Axes, artist: Artist) -> None:
        """Let a y axis's lines end at its break: below it, only what is zero has a place."""
        if self.zero is not None:
            floor = np.log(self.floor / self.lo) / np.log(self.hi / self.lo)
            artist.set_clip_box(TransformedBbox(Bbox([[0, floor], [1, 1]]), ax.transAxes))

    def at_zero(self, values: ArrayLike) -> NDArray[np.bool_]:
        """Which values are drawn below the break."""
        return (np.asarray(values, float) <= 0) & (self.zero is not None)

    def apply(self, ax: Axes, name: Literal["x", "y"], *, whole: bool) -> None:
        """Give an axis these limits and ticks; `whole` keeps the ticks to whole numbers."""
        axis = ax.xaxis if name == "x" else ax.yaxis
        if self.log:
            (ax.set_xscale if name == "x" else ax.set_yscale)("log")
            self._tick(ax, name)
        else:
            axis.set_major_locator(MaxNLocator(6, integer=whole, steps=[1, 2, 5, 10]))
        (ax.set_xlim if name == "x" else ax.set_ylim)(self.lo, self.hi)

    def _tick(self, ax: Axes, name: Literal["x", "y"]) -> None:
        axis = ax.xaxis if name == "x" else ax.yaxis
        places, labels = list(self.ticks), _labels(self.ticks)
        if self.zero is not None:
            places, labels = [self.zero, *places], [self.zero_label, *labels]
            self._break(ax, name)
        axis.set_major_locator(FixedLocator(places))
        axis.set_major_formatter(FixedFormatter(labels))
        decades = np.arange(np.floor(np.log10(self.floor)), np.ceil(np.log10(self.hi)))
        minor = (10.0 ** decades[:, None] * np.arange(1, 10)).ravel()
        inside = minor[(minor >= self.floor) & (minor <= self.hi)]
        axis.set_minor_locator(FixedLocator(inside) if len(inside) <= 60 else NullLocator())
        axis.set_minor_formatter(NullFormatter())

    def _break(self, ax: Axes, name: Literal["x", "y"]) -> None:
        """Two strokes across the axis between zero and the least value that has a logarithm."""
        middle = np.sqrt((self.zero or self.floor) * self.floor)
        at = np.log(middle / self.lo) / np.log(self.hi / self.lo)
        for shift in (-0.008, 0.008):
            along, across = [at + shift - 0.006, at + shift + 0.006], [-0.014, 0.014]
            x, y = (along, across) if name == "x" else (across, along)
            ax.plot(x, y, color=INK, lw=0.7, transform=ax.transAxes, clip_on=False, zorder=5)


def _padded(values: NDArray[np.float64]) -> tuple[float, float]:
    if not len(values):
        return 0.0, 1.0
    lo, hi = float(values.min()), float(values.max())
    pad = 0.05 * (hi - lo) or 0.1 * abs(hi) or 0.5
    return lo - pad, hi + pad


def _padded_log(values: NDArray[np.float64]) -> tuple[float, float]:
    lo, hi = float(values.min()), float(values.max())
    pad = (hi / lo) ** 0.06 if hi > lo else 1.5
    return lo / pad, hi * pad


def _ticks(lo: float, hi: float, prefer: NDArray[np.float64]) -> tuple[float, ...]:
    """The preferred values where they are few, else decades.

    Over less than two decades there are steps between them; of many, every second or third is kept.
    """
    tried = _spaced([float(v) for v in prefer if v > 0 and lo <= v <= hi], lo, hi)
    if 2 <= len(prefer) <= MOST_TICKS and len(tried) >= 2:
        return tuple(tried)
    decades = [float(10.0**k) for k in range(int(np.floor(np.log10(lo))), int(np.ceil(np.log10(hi))) + 1)]
    inside = [v for v in decades if lo <= v <= hi]
    if len(inside) >= 3:
        return tuple(inside[:: -(-len(inside) // MOST_TICKS)])
    for steps in ((1, 2, 5), (1, 2, 3, 5)):
        between = [m * v for v in decades for m in steps if lo <= m * v <= hi]
        if len(between) >= 3:
            return tuple(_spaced(between, lo, hi))
    return tuple(float(v) for v in MaxNLocator(4).tick_values(lo, hi) if lo <= v <= hi)


def _spaced(values: list[float], lo: float, hi: float) -> list[float]:
    """Those of ascending values whose labels do not touch."""
    kept: list[float] = []
    for value in values:
        if not kept or np.log(value / kept[-1]) > 0.085 * np.log(hi / lo):
            kept.append(value)
    return kept


def _labels(ticks: tuple[float, ...]) -> list[str]:
    """Plain numbers; powers of ten where a plain number would be long."""
    if all(1e-3 <= t < 1e5 for t in ticks):
        return [f"{t:g}" for t in ticks]
    return [_power(t) for t in ticks]


def _power(value: float) -> str:
    exponent = int(np.floor(np.log10(value) + 1e-9))
    factor = value / 10.0**exponent
    power = f"10^{{{exponent}}}"
    return f"${power}$" if abs(factor - 1) < 1e-9 else rf"${factor:g} \times {power}$"

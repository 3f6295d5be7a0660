"""Exponents: the e of y ~ c x^e, one straight line a seed in log-log, and whether it is straight.

Import from `lemmata.lab.stats`.

| symbol | meaning | shape |
|---|---|---|
| S, P | seeds, points along x | |
| u | log x, centred | (P,) |
| slope | of log y against u | (S,) |
| bend | the coefficient of u^2 | (S,) |
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from lemmata.lab.censored import fit_censored, log_bounds, open_ended, shared_rounding
from lemmata.lab.errors import DataError, InputError
from lemmata.lab.estimate import Array, Estimate, logarithm, student

__all__ = ["censored_exponent", "coefficient", "exponent"]

FEWEST_POINTS = 3


def exponent(x_P: ArrayLike, y_SP: ArrayLike, *, margin: float = 0.15, level: float = 0.95) -> Estimate:
    """The exponent e of y ~ c x^e: one least-squares slope a seed, Student's t over seeds.

    It carries an objection where no single exponent fits: the seeds agree that the line bends (a
    t interval of the bends excludes zero) and the local slope changes by more than `margin` from
    one end of the range to the other. A y that is not positive and finite is an objection too.

    Valid for exact y (not for times known up to a check: `censored_exponent`), at least three x.

    Raises:
        DataError: fewer than three different x.
        InputError: an x that is not positive, or y not of shape (S, P).

    >>> x = [0.2, 0.4, 0.8]
    >>> e = exponent(x, [[9.8, 6.3, 3.9], [10.1, 6.2, 4.1], [10.2, 6.5, 3.9]])
    >>> round(e.value, 3), round(e.lo, 3), round(e.hi, 3), e.objections
    (-0.669, -0.724, -0.615, ())
    """
    u_P, y_SP = _points(x_P, y_SP)
    log_SP, method = logarithm(y_SP), "Student t over seeds, of log-log slopes"
    lacking = log_SP.size - int(np.isfinite(log_SP).sum())
    if lacking:
        objection = f"{lacking} of {log_SP.size} points are not positive and finite"
        return Estimate.without_number(len(log_SP), (objection,), method)
    slope_S = log_SP @ np.linalg.pinv(_powers(u_P, 1))[1]
    bend_S = log_SP @ np.linalg.pinv(_powers(u_P, 2))[2]
    return _straight(slope_S, bend_S, u_P, np.zeros_like(u_P), margin, level, method)


def censored_exponent(
    x_P: ArrayLike,
    lo_SP: ArrayLike,
    hi_SP: ArrayLike,
    *,
    margin: float = 0.15,
    max_censored: float = 0.25,
    level: float = 0.95,
) -> Estimate:
    """The exponent of a quantity known only to lie in (lo, hi]: first-passage times, needed sizes.

    The model is log y_sp = a_s + e_s log x_p + noise. The noise level is one for all seeds, by
    maximum likelihood; at it each seed has its slope, and Student's t runs over the slopes. As far
    as seeds fall into the same intervals their rounding is common, and the worst that it can do to
    the slope is added (`lemmata.lab.censored.shared_rounding`). hi = inf is a point that never
    arrived (a diverged member among them), lo = 0 one that was there at the first check.

    It carries the objection of `exponent` to a bend, and one where more than a share `max_censored`
    of all points has an open end, or a seed has fewer than three points with both ends.

    Raises:
        DataError: fewer than three different x.
        InputError: an x that is not positive, shapes that differ from (S, P), lo < 0 or hi <= lo.

    >>> x = [0.2, 0.4, 0.8]
    >>> e = censored_exponent(x, [[95, 60, 35], [100, 65, 40]], [[100, 65, 40], [105, 70, 45]])
    >>> round(e.value, 2), e.objections
    (-0.65, ())
    """
    u_P, lo_SP = _points(x_P, lo_SP)
    _, hi_SP = _points(x_P, hi_SP)
    lo_SP, hi_SP = log_bounds(lo_SP, hi_SP)
    method = "Student t over seeds, of slopes by interval-censored maximum likelihood"
    closed_SP = np.isfinite(lo_SP) & np.isfinite(hi_SP)
    objections = open_ended(closed_SP, max_censored)
    few = int((closed_SP.sum(axis=1) < FEWEST_POINTS).sum())
    if few:
        objections += (f"{few} of {len(lo_SP)} seeds with fewer than {FEWEST_POINTS} known points",)
        return Estimate.without_number(len(lo_SP), objections, method)
    line = fit_censored(_powers(u_P, 1), lo_SP, hi_SP)
    curve = fit_censored(_powers(u_P, 2), lo_SP, hi_SP)
    if not (line.settled and curve.settled):
        objections += ("the censored fit did not settle",)
    rounding_P = shared_rounding(lo_SP, hi_SP)
    slope_S, bend_S = line.beta_SK[:, 1], curve.beta_SK[:, 2]
    estimate = _straight(slope_S, bend_S, u_P, rounding_P, margin, level, method)
    return replace(estimate, objections=objections + estimate.objections)


def coefficient(design_PK: ArrayLike, y_SP: ArrayLike, k: int, *, level: float = 0.95) -> Estimate:
    """Coefficient k of y = sum_k b_k X_k by least squares, one fit a seed, Student's t over seeds.

    With logarithms for y and X it is an exponent beside others. Valid for y that are known up to noise that is the same
    at all points. A y that is not finite is an objection.

    Raises:
        InputError: a design of other than P rows, or y of other than (S, P).
        DataError: points that do not tell the coefficients apart, as when a sweep has become one point.

    >>> design = [[1, 0.0], [1, 1.0], [1, 2.0]]
    >>> e = coefficient(design, [[1.0, 3.0, 5.1], [1.1, 2.9, 5.0]], 1)
    >>> round(e.value, 3), e.n
    (2.0, 2)
    """
    X_PK, y_SP = np.asarray(design_PK, dtype=float), np.asarray(y_SP, dtype=float)
    if y_SP.ndim != 2 or X_PK.ndim != 2 or len(X_PK) != y_SP.shape[1]:
        got = f"a design of shape {X_PK.shape} and y of shape {y_SP.shape}"
        raise InputError("a design (P, K) and y (S, P)", got, "give each point a row of the design")
    rank = int(np.linalg.matrix_rank(X_PK))
    if rank < X_PK.shape[1]:
        fix = "leave what is varied to the claim's own sweeps"
        raise DataError(f"points that tell {X_PK.shape[1]} coefficients apart", f"such as tell {rank} apart", fix)
    method = "Student t over seeds, of least-squares coefficients"
    lacking = y_SP.size - int(np.isfinite(y_SP).sum())
    if lacking:
        return Estimate.without_number(len(y_SP), (f"{lacking} of {y_SP.size} points are not finite",), method)
    return student(y_SP @ np.linalg.pinv(X_PK)[k], level, method=method)


def _straight(
    slope_S: Array,
    bend_S: Array,
    u_P: Array,
    rounding_P: Array,
    margin: float,
    level: float,
    method: str,
) -> Estimate:
    """Student's t over the slopes, with an objection where the seeds agree that the line bends."""
    slope_shift = float(np.abs(np.linalg.pinv(_powers(u_P, 1))[1]) @ rounding_P)
    bend_shift = float(np.abs(np.linalg.pinv(_powers(u_P, 2))[2]) @ rounding_P)
    slope = student(slope_S, level, method=method, shared_shift=slope_shift)
    reach = 2 * float(np.ptp(u_P))  # the local slope is slope + 2 bend u
    change = student(reach * bend_S, level, method=method, shared_shift=reach * bend_shift)
    if abs(change.value) <= margin or change.lo <= 0 <= change.hi:
        return slope
    objection = (
        f"no single exponent fits: the local slope changes by {change.value:+.2f} along the range"
        f" (interval {change.lo:+.2f} to {change.hi:+.2f}), more than {margin:g}"
    )
    return replace(slope, objections=(*slope.objections, objection))


def _powers(u_P: Array, degree: int) -> Array:
    return np.vander(u_P, degree + 1, increasing=True)


def _points(x_P: ArrayLike, y_SP: ArrayLike) -> tuple[Array, Array]:
    """Centred log x, and y with a row a seed."""
    x_P, y_SP = np.asarray(x_P, dtype=float), np.asarray(y_SP, dtype=float)
    if x_P.ndim != 1 or y_SP.ndim != 2 or y_SP.shape[1] != len(x_P):
        got = f"x of shape {x_P.shape}, y of shape {y_SP.shape}"
        raise InputError("x (P,) and y (S, P)", got, "give each seed a row, each x a column")
    if not (np.isfinite(x_P) & (x_P > 0)).all():
        raise InputError("finite positive x", f"{x_P.tolist()}", "drop the points at x <= 0")
    if len(set(x_P.tolist())) < FEWEST_POINTS or not len(y_SP):
        got = f"{len(set(x_P.tolist()))} and {len(y_SP)}"
        fix = "measure at more points; with two, whether the line bends cannot be seen"
        raise DataError(f"at least {FEWEST_POINTS} different x and one seed", got, fix)
    u_P = np.log(x_P)
    return u_P - u_P.mean(), y_SP

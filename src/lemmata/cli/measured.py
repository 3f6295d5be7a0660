"""What the store has measured of the examples that a trained network needs: claim cot.test-length, and nothing else."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, final

import numpy as np
import pandas as pd

from lemmata.cli.options import Asked
from lemmata.cli.output import say_damaged
from lemmata.cli.reading import largest_stored
from lemmata.cot.answers import ErrorCurve
from lemmata.cot.claims.test_length import ALPHAS, CLAIM, LENGTH, LENGTHS, NOISES, RHOS, TAUS, needed_by
from lemmata.cot.experiments import BASE, EPS
from lemmata.cot.testing import TestSet
from lemmata.lab.stats import Estimate, geometric_t
from lemmata.lab.store import Store

if TYPE_CHECKING:
    from lemmata.lab.grid import Profile

__all__ = ["NOT_MATRICES", "Measured", "Network", "measured", "of_networks"]


@final
@dataclass(frozen=True)
class Network:
    """The number that trained networks need under one kind of noise, with its interval over seeds."""

    noise: str
    needed: Estimate


@final
@dataclass(frozen=True)
class Measured:
    """What was measured at the asked condition; `remark`, in lines, says why where that is nothing."""

    networks: tuple[Network, ...] = ()
    profile: Profile | None = None
    remark: tuple[str, ...] = ()


NOT_MATRICES = Measured(remark=(f"not measured: {CLAIM.id} takes prescribed tau and rho, not given matrices",))


def measured(
    asked: Asked, *, alpha: float, tau: float, rho: float, steps: int, patterns: int, split: str, error: float
) -> Measured:
    """What the largest stored profile has measured at this condition. Trains nothing, and creates no store."""
    point = (alpha, tau, rho)
    test = next((test for sweep in _sweeps() for test in sweep if np.allclose(point, _point(test))), None)
    if not test or (steps, patterns, split) != (BASE.K, test.states, test.split) or not math.isclose(error, EPS):
        return Measured(remark=("not measured at this condition:", *_conditions()))
    store = Store(asked.store)
    options = largest_stored(asked, CLAIM, store)
    networks = of_networks(store.read(CLAIM.cells(options)[LENGTH.name, None]), point) if options else ()
    say_damaged(store)
    if not options:
        command = ["lemmata", "check", CLAIM.id, "--quick"]
        if asked.store != Asked.store:
            command += ["--store", str(asked.store)]
        return Measured(remark=(f"not in {asked.store}: {shlex.join(command)} measures it",))
    return Measured(networks, options.profile)


def of_networks(frame: pd.DataFrame, point: tuple[float, float, float]) -> tuple[Network, ...]:
    """What these rows say at (alpha, tau, rho), for each kind of noise; an objection where a network has no number.

    Only a curve that crosses the error within the measured lengths has one.
    """
    found = []
    for law, noise in NOISES.items():
        table = needed_by(frame, law)
        each_S = next(table[column].to_numpy(float) for column in table.columns if np.allclose(column, point))
        needed, lacking = geometric_t(each_S), int((~np.isfinite(each_S)).sum())
        if lacking:
            told = f"{lacking} of {len(each_S)} networks do not cross the error between {LENGTHS[0]} and {LENGTHS[-1]}"
            needed = replace(needed, objections=(told,))
        found.append(Network(noise, needed))
    return tuple(found)


def _conditions() -> tuple[str, ...]:
    """What the claim measures, in words."""
    sweeps = {"alpha": ALPHAS, "tau": TAUS, "rho": RHOS}
    swept = "; ".join(f"{name} of {', '.join(f'{v:g}' for v in values)}" for name, values in sweeps.items())
    alpha, tau, rho = set.intersection(*({_point(test) for test in sweep} for sweep in _sweeps())).pop()
    test = _sweeps()[0][0]
    return (
        f"{CLAIM.id} takes {swept},",
        f"one at a time around alpha = {alpha:g}, tau = {tau:g}, rho = {rho:g}, with split {test.split}, {BASE.K} "
        f"steps, {test.states} patterns and error {EPS:g}",
    )


def _sweeps() -> list[list[TestSet]]:
    return [curve.tests() for curve in LENGTH.measures if isinstance(curve, ErrorCurve)]


def _point(test: TestSet) -> tuple[float, float, float]:
    assert test.tau is not None and test.rho is not None  # the claim sweeps both
    return test.alpha, test.tau, test.rho

"""Constants that the experiments of the task-vector paper have in common, and the pairs of tasks that claims share.

What the paper leaves open was chosen on seeds from 1000 on, which no verdict reads. The start of W decides more than
anything else, so that w0 is a condition: at w0 = 0 a task vector is all the attention that there is, at w0 = 4 every
token attends to its own kind before any fine-tuning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pandas as pd

from lemmata.editing.network import OneLayer
from lemmata.editing.probes import AddCurve, FineTuned, Similarity
from lemmata.lab.claim import Prediction
from lemmata.lab.frames import pick
from lemmata.lab.grid import ByProfile, Experiment, product
from lemmata.lab.stats import Estimate
from lemmata.lab.trainee import Value

__all__ = [
    "BASE",
    "EPS",
    "FAILED",
    "MARGIN",
    "NOISE",
    "PAIRS",
    "SEEDS",
    "SETTINGS",
    "SETTING_SEEDS",
    "of_trained",
    "started",
]

SEEDS = ByProfile(quick=5, default=10, full=20)
SETTING_SEEDS = ByProfile(quick=0, default=3, full=5)

# Hinge loss that counts as Theta(eps), and as having failed a task: losses are 0 and 1 of a network that knows a task
# and of one that answers 0.
EPS, FAILED = 0.01, 0.05
# beta, by which lambda has to exceed 1 - alpha.
MARGIN = 0.1
# Token noise of the conditions that have it: accuracy after fine-tuning is still above 0.99.
NOISE = 0.4

BASE = OneLayer()

# Other choices that a reader could have made.
SETTINGS: dict[str, dict[str, Value]] = {
    "lr 0.3": {"lr": 0.3},
    "xi 0.2": {"xi": 0.2},
    "400 neurons": {"m": 400},
    "5 irrelevant patterns": {"J": 5},
}


def started(w0: float) -> str:
    """The start of W in words.

    >>> started(0.0), started(4.0)
    ('W^(0) = 0', 'W^(0) = 4 I')
    """
    return f"W^(0) = {w0:g} I" if w0 else "W^(0) = 0"


def of_trained(*predictions: Prediction) -> tuple[Prediction, ...]:
    """The same predictions, open where a fine-tuning did not even learn its own task.

    A network that knows nothing joins no tasks and has forgotten all of them: it would confirm what fails.
    """
    return tuple(replace(p, estimate=partial(_of_trained, p.estimate)) for p in predictions)


def _of_trained(estimate: Callable[[pd.DataFrame], Estimate], frame: pd.DataFrame) -> Estimate:
    found, loss = estimate(frame), pick(frame, "fine_tuned")["value"]
    failed = int((~(loss <= FAILED)).sum())
    if not failed:
        return found
    words = f"{failed} of {len(loss)} fine-tunings have a loss above {FAILED} on their own task"
    return replace(found, objections=(*found.objections, words))


FALLING = tuple(-0.25 * i for i in range(12, 0, -1))
LAMBDAS = (-8.0, -6.0, -5.0, -4.0, *FALLING, *(round(0.05 * i, 2) for i in range(31)), 1.75, 2.0)
COARSE = (-1.0, -0.6, -0.2, 0.0, 0.3, 0.6, 0.9)
FINE = (-1.0, -0.8, -0.6, -0.4, -0.2, 0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9)
NOISY = product(tau=(NOISE,), alpha=(-0.6, 0.0, 0.6))


def _pairs(alphas: tuple[float, ...]) -> tuple[dict[str, Value], ...]:
    return (*product(w0=(0.0, 4.0), alpha=alphas), *NOISY)


# Two tasks of every correlation.
PAIRS = Experiment(
    name="pairs",
    base=BASE,
    measures=(
        FineTuned(),
        AddCurve(lambdas=LAMBDAS),
        AddCurve(lambdas=(-8.0, -6.0, -5.0, -4.0, *FALLING), part="V"),
        Similarity(),
        Similarity(share=0.8),
    ),
    points=ByProfile(_pairs(COARSE), _pairs(FINE), _pairs(FINE)),
    seeds=SEEDS,
    settings=SETTINGS,
    setting_seeds=SETTING_SEEDS,
)

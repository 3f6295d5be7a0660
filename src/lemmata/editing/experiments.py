"""Constants that the experiments of the task-vector paper have in common, and the pairs of tasks that claims share.

What the paper leaves open was chosen on seeds from 1000 on, which no verdict reads. The start of W decides more than
anything else, so that w0 is a condition: at w0 = 0 a task vector is all the attention that there is, at w0 = 4 every
token attends to its own kind before any fine-tuning.
"""

from __future__ import annotations

from functools import partial

import pandas as pd

from lemmata.editing.network import OneLayer
from lemmata.editing.probes import AddCurve, FineTuned, Similarity
from lemmata.lab.claim import Prediction, provided
from lemmata.lab.frames import failing, pick
from lemmata.lab.grid import ByProfile, Experiment, product
from lemmata.lab.trainee import Value

__all__ = [
    "BASE",
    "BETA",
    "EPS",
    "FAILED",
    "NOISE",
    "PAIRS",
    "SEEDS",
    "SETTINGS",
    "SETTING_SEEDS",
    "UNLEARNED",
    "of_trained",
    "started",
]

SEEDS = ByProfile(quick=5, default=10, full=20)
SETTING_SEEDS = ByProfile(quick=0, default=3, full=5)

# Hinge loss that counts as Theta(eps), and from which on a task is failed: losses are 0 and 1 of a network that knows a
# task and of one that answers 0. In between a promise is broken, and a failure is none.
EPS, FAILED = 0.01, 0.05
# Loss of a task that counts as unlearned, Theta(1).
UNLEARNED = 0.5
# The theorems' beta: what lambda exceeds 1 - alpha by, and what a unit of lambda may cost other tasks.
BETA = 0.05
# Token noise of the conditions that have it, and the accuracy that fine-tuning still reaches there.
NOISE, RIGHT = 0.4, 0.99

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


def of_trained(*predictions: Prediction, tau: float = 0.0) -> tuple[Prediction, ...]:
    """The same predictions of networks with this token noise, open where a fine-tuning did not learn its own task.

    A network that knows nothing joins no tasks and has forgotten all of them: it would confirm what fails.
    """
    return provided(partial(_unlearned, tau=tau), *predictions)


def _unlearned(frame: pd.DataFrame, *, tau: float) -> tuple[str, ...]:
    """With noise no loss is 0, and accuracy says what was learned."""
    words = "fine-tunings have {} on their own task"
    if tau:
        accuracy = pick(frame, "fine_tuned_accuracy", {"tau": tau})
        return failing(accuracy, words.format(f"an accuracy below {RIGHT}"), at_least=RIGHT)
    loss = pick(frame, "fine_tuned_hinge", {"tau": tau})
    return failing(loss, words.format(f"a loss above {FAILED}"), at_most=FAILED)


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

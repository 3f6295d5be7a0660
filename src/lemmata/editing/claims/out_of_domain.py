"""editing.out-of-domain: which pairs of coefficients solve a task that nothing was fine-tuned on (Theorem 3)."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from lemmata.editing.experiments import (
    BASE,
    BETA,
    EPS,
    FAILED,
    NOISE,
    SEEDS,
    SETTING_SEEDS,
    SETTINGS,
    of_trained,
    started,
)
from lemmata.editing.probes import FineTuned, OutsideGrid, OutsideRay
from lemmata.editing.published import REGION, UNIT_GAMMA, region
from lemmata.editing.theory import out_of_domain
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.errors import DataError
from lemmata.lab.figure import Figure, Grid, Mark, Panel, Reference, curves, drawable, threshold
from lemmata.lab.frames import extreme_by_seed, pick
from lemmata.lab.grid import ByProfile, Experiment, product
from lemmata.lab.needed import needed
from lemmata.lab.rule import above, at_most, within
from lemmata.lab.stats import Estimate, mean_t

# 1 + c, with room for |lambda_t| of up to 3.
THRESHOLD = 1 + 3 * BETA
# Directions of the unseen task: between the tasks and against one of them, and near the paper's estimates.
GAMMAS = {"": (0.7, -0.5), "-published": UNIT_GAMMA}
# Where the second sum's threshold is looked for: up to a factor of 2 below the theorem's.
HALF = 0.5
# What counts as no loss and as no error, half of one in all samples: a logarithm needs a least value.
LEAST = {"ray_hinge": 1e-4, "ray_accuracy": 0.5 / OutsideRay.samples}

OUTSIDE = Experiment(
    name="outside",
    base=BASE,
    measures=(
        FineTuned(),
        *(
            measure(gamma_1=gamma_1, gamma_2=gamma_2)
            for gamma_1, gamma_2 in GAMMAS.values()
            for measure in (OutsideGrid, OutsideRay)
        ),
    ),
    points=ByProfile(*[(*product(w0=(0.0, 4.0)), {"tau": NOISE})] * 3),
    seeds=SEEDS,
    settings=SETTINGS,
    setting_seeds=SETTING_SEEDS,
)


def plane(frame: pd.DataFrame, metric: str, *, name: str = "", w0: float = 0.0) -> pd.DataFrame:
    """The rows of a metric over (lambda_1, lambda_2) = (x, lambda_2), with the columns "leading" and "attending".

    They are sum_t lambda_t gamma_t and sum_t lambda_t gamma_t^2.
    """
    rows = pick(frame, metric, {"w0": w0, "tau": 0.0, **_direction(frame, name)})
    lambda_L2, gamma_L2 = rows[["x", "lambda_2"]].to_numpy(), rows[["gamma_1", "gamma_2"]].to_numpy()
    return rows.assign(leading=(lambda_L2 * gamma_L2).sum(1), attending=(lambda_L2 * gamma_L2**2).sum(1))


def _direction(frame: pd.DataFrame, name: str) -> dict[str, float]:
    """The direction of this name: of those that were measured the nearest, for a user may have changed it."""
    # Rows of other measures have no direction.
    gamma_N2 = frame[["gamma_1", "gamma_2"]].dropna().drop_duplicates().to_numpy(float)
    if name and len(gamma_N2) < 2:
        raise DataError("a second direction of the unseen task", "one", "leave gamma_1 or gamma_2 alone")
    nearest = np.linalg.norm(gamma_N2 - np.array(GAMMAS[name]), axis=1).argmin()
    return dict(zip(("gamma_1", "gamma_2"), gamma_N2[nearest].tolist(), strict=True))


def _largest(rows: pd.DataFrame, inside: pd.Series | np.ndarray, words: str) -> Estimate:
    if not np.asarray(inside).any():
        raise DataError(f"pairs of coefficients with {words}", "none", "leave gamma_1 and gamma_2 alone")
    return mean_t(extreme_by_seed(rows[inside], "max"))


def inside_loss(frame: pd.DataFrame, *, name: str) -> Estimate:
    """The loss on the unseen task, for the pair inside the polytope where it is largest."""
    rows = plane(frame, "hinge", name=name)
    direction = _direction(frame, name)
    gamma_T = [direction["gamma_1"], direction["gamma_2"]]
    inside = out_of_domain(rows[["x", "lambda_2"]].to_numpy(), gamma_T, threshold=THRESHOLD, beta=BETA)
    return _largest(rows, inside, f"both sums at least {THRESHOLD:g}")


def reached(frame: pd.DataFrame, metric: str, bound: float, *, name: str = "", tau: float = 0.0) -> Estimate:
    """Where along gamma the loss, or the share of wrong answers, comes down to a bound: sum_t lambda_t gamma_t."""
    rows = pick(frame, metric, {"w0": 0.0, "tau": tau, **_direction(frame, name)})
    if metric == "ray_accuracy":
        rows = rows.assign(value=1 - rows["value"])
    # A pass on the way up from negative coefficients is none.
    rows = rows[rows["x"] >= 0].assign(direction=0)
    return mean_t(needed(rows, "direction", bound, least=LEAST[metric]).to_numpy(float)[:, 0])


def second_alone(frame: pd.DataFrame, *, w0: float, lo: float, hi: float) -> Estimate:
    """The largest loss where the first sum is at least THRESHOLD and the second lies in [lo, hi)."""
    rows = plane(frame, "hinge", w0=w0)
    inside = (rows["leading"] >= THRESHOLD) & (rows["attending"] >= lo) & (rows["attending"] < hi)
    return _largest(rows, inside, f"a first sum of at least {THRESHOLD:g} and a second in [{lo:g}, {hi:g})")


def figure(frames: Frames) -> Figure:
    """Heat maps of loss and accuracy with the polytope, and both along gamma."""
    frame = frames[OUTSIDE.name]

    direction = _direction(frame, "")
    gamma = (direction["gamma_1"], direction["gamma_2"])

    def heat(metric: str, label: str, w0: float, at: tuple[float, float]) -> Panel:
        rows = plane(frame, metric, w0=w0)
        table = rows.pivot_table(index="lambda_2", columns="x", values="value", aggfunc="mean", dropna=False)
        x, y = tuple(map(float, table.columns)), tuple(map(float, table.index))
        marks: list[Mark] = [Grid(label, x, y, tuple(map(tuple, table.to_numpy().tolist())), (0.0, 1.0))]
        if gamma[0] > 0:
            kind = "published" if at == REGION else "prediction"
            marks.append(Reference(f"sums of {at[0]:g} and {at[1]:g}", *region(gamma, at, x, y), kind))
        return Panel(title=f"{label}, {started(w0)}", x="lambda_1", y="lambda_2", marks=tuple(marks))

    def along() -> Panel:
        rows = frame[
            (frame["w0"] == 0) & (frame["tau"] == 0) & frame["gamma_1"].eq(gamma[0]) & frame["gamma_2"].eq(gamma[1])
        ]
        accuracy = rows.assign(value=np.where(rows["metric"] == "ray_accuracy", 1 - rows["value"], rows["value"]))
        marks = (
            *curves(rows, "ray_hinge", label="hinge loss"),
            *curves(accuracy, "ray_accuracy", label="wrong answers", first_group=1),
            threshold("theorem: 1", x=1.0),
            threshold(f"plotted: {REGION[0]:g}", x=REGION[0]),
        )
        return Panel(
            title="along gamma", x="lambda_1 gamma_1 + lambda_2 gamma_2", y="loss, share of wrong answers", marks=marks
        )

    return Figure(
        panels=drawable(
            partial(heat, "hinge", "hinge loss", 0.0, (1.0, 1.0)),
            partial(heat, "accuracy", "accuracy", 0.0, REGION),
            partial(heat, "hinge", "hinge loss", 4.0, (1.0, 1.0)),
            along,
        ),
        caption=f"Psi^(0) + lambda_1 Delta_1 + lambda_2 Delta_2 on a task with direction {gamma[0]:g} mu_1 "
        f"{gamma[1]:+g} mu_2 + kappa mu_perp, mean over seeds. Lines: where both sums of Theorem 3 are 1, and where "
        f"they are {REGION[0]:g} and {REGION[1]:g}, as read off the published plot. Losses above 1 have the colour of "
        "1.",
    )


# A prediction of Theorem 3.
prediction = partial(Prediction, source="Theorem 3", of=OUTSIDE)

CLAIM = Claim(
    id="editing.out-of-domain",
    title="A task that nothing was fine-tuned on",
    statement="On a task with direction sum gamma_t mu_t + kappa mu_perp the edit Psi^(0) + sum lambda_t Delta_t works "
    "if sum lambda_t gamma_t >= 1 + c, sum lambda_t gamma_t^2 >= 1 + c and |lambda_t| beta <= c. Asked from W^(0) = 0 "
    "without token noise, where nothing else is said.",
    source="Theorem 3",
    cites=("li2025editing",),
    predictions=(
        *of_trained(
            *(
                prediction(
                    id=f"inside{name}",
                    statement=f"With gamma = ({gamma[0]:g}, {gamma[1]:g}) the unseen task is solved everywhere in the "
                    f"polytope, c = {THRESHOLD - 1:.2f} and beta = {BETA}, lambda_1 up to 3.",
                    kind="holds",
                    statistic="loss on the unseen task, for the pair of coefficients where it is largest",
                    predicted=f"at most {EPS}",
                    estimate=partial(inside_loss, name=name),
                    rule=at_most(EPS),
                )
                for name, gamma in GAMMAS.items()
            ),
            *(
                prediction(
                    id=f"loss-threshold{name}",
                    statement=f"Along gamma = ({gamma[0]:g}, {gamma[1]:g}) the loss closes where the first sum is 1, "
                    f"though the second is then {sum(g**3 for g in gamma) / sum(g**2 for g in gamma):.2f}.",
                    kind="tight",
                    source="first condition of Theorem 3 alone, asked here",
                    statistic=f"first sum at which the loss comes down to {EPS}",
                    predicted="1",
                    estimate=partial(reached, metric="ray_hinge", bound=EPS, name=name),
                    rule=within(1.0, 0.15),
                )
                for name, gamma in GAMMAS.items()
            ),
            prediction(
                id="accuracy-threshold",
                statement="The threshold 0.2 of the published plot is that of accuracy: along gamma = (0.7, -0.5) "
                "answers are right from a first sum of 0.2 on.",
                kind="comparison",
                source="the paper's plotted region, of this model",
                statistic="first sum at which 1 % of the answers are wrong",
                predicted=f"{REGION[0]:g}, to 0.1",
                estimate=partial(reached, metric="ray_accuracy", bound=0.01),
                rule=within(REGION[0], 0.1),
            ),
            prediction(
                id="second-sum-below-0",
                statement="From W^(0) = 0 the first condition alone is not enough: some pair fails whose second sum is "
                "below 0.",
                kind="mechanism",
                statistic=f"largest loss where the first sum is at least {THRESHOLD:g} and the second below 0",
                predicted=f"above {FAILED}",
                estimate=partial(second_alone, w0=0.0, lo=-np.inf, hi=0.0),
                rule=above(FAILED),
            ),
            prediction(
                id="second-sum-tight",
                statement=f"From W^(0) = 0 a second sum of 1 is needed: some pair fails between {HALF} and 1.",
                kind="tight",
                statistic=f"largest loss where the first sum is at least {THRESHOLD:g} and the second from {HALF} to 1",
                predicted=f"above {FAILED}",
                estimate=partial(second_alone, w0=0.0, lo=HALF, hi=1.0),
                rule=above(FAILED),
            ),
            prediction(
                id="second-sum-is-attention",
                statement="The second sum is the attention's: from W^(0) = 4 I, where tokens attend to their own kind "
                "from the start, the first condition alone is enough.",
                kind="mechanism",
                source="made here",
                statistic=f"largest loss where the first sum is at least {THRESHOLD:g} and the second below 1",
                predicted=f"at most {EPS}",
                estimate=partial(second_alone, w0=4.0, lo=-np.inf, hi=1.0),
                rule=at_most(EPS),
            ),
        ),
        *of_trained(
            prediction(
                id="accuracy-threshold-with-noise",
                statement=f"With token noise {NOISE} the same holds of 5 % wrong answers.",
                kind="comparison",
                source="the paper's plotted region, of this model",
                statistic="first sum at which 5 % of the answers are wrong",
                predicted=f"{REGION[0]:g}, to 0.1",
                estimate=partial(reached, metric="ray_accuracy", bound=0.05, tau=NOISE),
                rule=within(REGION[0], 0.1),
            ),
            tau=NOISE,
        ),
    ),
    figure=figure,
)

"""editing.coloured-ood: a pair of coefficients that reaches a task nobody was fine-tuned on (Table B)."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from lemmata.editing.coloured_choices import at_pair, of_fine_tuned, over_seeds, reached
from lemmata.editing.coloured_experiments import MLP, NETS, VIT
from lemmata.editing.published import REGION, REGION_GAMMA, REGION_MOST, region
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.figure import Figure, Grid, Mark, Panel, Reference, Scatter, drawable
from lemmata.lab.frames import by_seed, pick
from lemmata.lab.grid import Experiment
from lemmata.lab.rule import above, at_least, at_most, below
from lemmata.lab.stats import Estimate

# Steps of the grid of coefficients, and what one test image of the smaller data set is worth. Accuracies are exact
# means over colourings, of a finite set of images.
LAMBDA_STEP, IMAGE = 0.5, 1 / 250
# "About one point" behind fine-tuning on T', and "several points" ahead of T1's task vector alone.
NEAR, AHEAD = 0.01, 0.02
# Accuracy on T' in the dark band of figure C.
DARK = 0.10


def best_lambda(frame: pd.DataFrame, *, which: int) -> Estimate:
    """One of the two coefficients of the best pair."""
    return over_seeds(reached(frame).lambda_S2[:, which], LAMBDA_STEP)


def behind_fine_tuning(frame: pd.DataFrame) -> Estimate:
    """How far the best pair is behind fine-tuning on T'."""
    own_S = by_seed(frame, "fine_tuned", {"task": "outside", "part": "test"})
    return over_seeds(own_S - reached(frame).accuracy_S, IMAGE)


def ahead_of_first(frame: pd.DataFrame) -> Estimate:
    """How far the best pair is ahead of (1, 0)."""
    return over_seeds(reached(frame).accuracy_S - at_pair(frame, 1.0, 0.0), IMAGE)


def second_alone(frame: pd.DataFrame) -> Estimate:
    """Accuracy on T' at (0, 1)."""
    return over_seeds(at_pair(frame, 0.0, 1.0), IMAGE)


def darkest(frame: pd.DataFrame) -> Estimate:
    """Accuracy on T' at the worst pair."""
    return over_seeds(reached(frame, lowest=True).accuracy_S, IMAGE)


def panel(frames: Frames, of: Experiment, net: str) -> Panel:
    """The heat map of accuracy on T', the pair (1, 0), the best pair of the mean, and the published region."""
    rows = pick(frames[of.name], "outside", {"part": "test"})
    table = rows.pivot_table(index="lambda_2", columns="x", values="value", aggfunc="mean", dropna=False)
    x, y = (tuple(float(v) for v in axis) for axis in (table.columns, table.index))
    row, column = np.unravel_index(np.nan_to_num(table.to_numpy(), nan=-1.0).argmax(), table.shape)
    marks: list[Mark] = [
        Grid("accuracy on T'", x, y, tuple(tuple(line) for line in table.to_numpy().tolist()), z_range=(0.0, 1.0)),
        Scatter("(1, 0): T1 alone", (1.0,), (0.0,), group=1),
        Scatter("best pair of the mean", (x[column],), (y[row],), group=2),
    ]
    if len(x) > 1 and len(y) > 1:
        edge = region(REGION_GAMMA, REGION, x, y, most=REGION_MOST)
        marks.append(Reference("region of figure D", *edge, "published"))
    return Panel(title=NETS[net], x="lambda_1", y="lambda_2", marks=tuple(marks))


def figure(frames: Frames) -> Figure:
    """Accuracy on T' over both coefficients, for both networks."""
    of = {"vit": VIT, "mlp": MLP}
    return Figure(
        panels=drawable(*(partial(panel, frames, of[net], net) for net in of)),
        caption="Accuracy on T' of the network edited by lambda_1 times the task vector of T1 and lambda_2 times that "
        "of T2, mean over seeds on test images, with the region that the published figure D draws for its own tasks.",
    )


def predictions(of: Experiment, net: str) -> tuple[Prediction, ...]:
    """The shape of Table B and figure C in one network."""
    prediction = partial(Prediction, kind="holds", source="Table B", of=of)
    where = f"In a {NETS[net]}"
    return of_fine_tuned(
        prediction(
            id=f"first-{net}",
            statement=f"{where} the best pair takes more than all of T1's task vector.",
            statistic="lambda_1 of the best pair in validation images",
            predicted="above 1",
            estimate=partial(best_lambda, which=0),
            rule=above(1.0),
        ),
        prediction(
            id=f"second-{net}",
            statement=f"{where} the best pair subtracts T2's task vector.",
            statistic="lambda_2 of the best pair in validation images",
            predicted="below 0",
            estimate=partial(best_lambda, which=1),
            rule=below(0.0),
        ),
        prediction(
            id=f"near-{net}",
            statement=f"{where} the best pair comes within 0.01 of fine-tuning on T'.",
            statistic="accuracy on T' after fine-tuning on it less that of the best pair",
            predicted=f"at most {NEAR}",
            estimate=behind_fine_tuning,
            rule=at_most(NEAR),
        ),
        prediction(
            id=f"ahead-{net}",
            statement=f"{where} the best pair is at least 0.02 better than T1's task vector alone.",
            kind="comparison",
            statistic="accuracy on T' of the best pair less that of (1, 0)",
            predicted=f"at least {AHEAD}",
            estimate=ahead_of_first,
            rule=at_least(AHEAD),
        ),
        prediction(
            id=f"against-{net}",
            statement=f"{where} T2's task vector alone is worse than chance.",
            statistic="accuracy on T' of (0, 1)",
            predicted="below 0.5",
            estimate=second_alone,
            rule=below(0.5),
        ),
        prediction(
            id=f"dark-{net}",
            statement=f"{where} some pair is nearly always wrong on T', published below 0.10.",
            kind="mechanism",
            source="figure C",
            statistic="accuracy on T' of the worst pair in validation images",
            predicted=f"below {DARK}",
            estimate=darkest,
            rule=below(DARK),
        ),
    )


CLAIM = Claim(
    id="editing.coloured-ood",
    title="Coloured digits: a pair of coefficients for an unseen task",
    statement="A task T' that is positively correlated with T1 and negatively with T2 is reached by lambda_1 above 1 "
    "and lambda_2 below 0. On scikit-learn's digits: parity of digits, whose colours say nothing in T1, are swapped in "
    "T2 and help in T'.",
    source="Table B and figure C (coloured MNIST, ViT-Small/16)",
    cites=("li2025editing",),
    predictions=(*predictions(VIT, "vit"), *predictions(MLP, "mlp")),
    figure=figure,
)

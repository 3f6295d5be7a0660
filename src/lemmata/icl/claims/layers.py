"""icl.layers: which of the one-layer mechanism survives in three layers."""

from __future__ import annotations

from functools import partial

import pandas as pd

from lemmata.icl.experiments import GPT
from lemmata.icl.published import LAYERS, line
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.figure import Figure, Panel, curves
from lemmata.lab.frames import pick
from lemmata.lab.rule import at_least, at_most
from lemmata.lab.stats import Estimate, mean_t


def by_layer(frame: pd.DataFrame, metric: str, step: str, where: dict[str, object] | None = None) -> pd.DataFrame:
    """A metric at the first or the last step, a row a seed and a column a layer."""
    rows = pick(frame, metric, where)
    at = rows["steps"] if step == "last" else 0
    return rows[rows["x"] == at].groupby(["seed", "layer"])["value"].mean().unstack("layer")


def least_growth(frame: pd.DataFrame) -> Estimate:
    """Growth of the attention on the query's pattern in the layer where it grows least."""
    grown = by_layer(frame, "attention_same", "last") - by_layer(frame, "attention_same", "first")
    return mean_t(grown.min(axis=1).to_numpy())


def largest_mass(frame: pd.DataFrame) -> Estimate:
    """Attention on the query's pattern after training, in the layer where it is largest."""
    return mean_t(by_layer(frame, "attention_same", "last").max(axis=1).to_numpy())


def separation(frame: pd.DataFrame) -> pd.DataFrame:
    """By seed and layer: the difference between the mean label angles of rows of negative and of positive effect."""
    plus, minus = (by_layer(frame, "label_angle", "last", {"effect": e, "over": "mean"}) for e in ("+", "-"))
    return (minus - plus).abs()


def largest_separation(frame: pd.DataFrame) -> Estimate:
    """The separation in the layer where it is largest."""
    return mean_t(separation(frame).max(axis=1).to_numpy())


def second_separation(frame: pd.DataFrame) -> Estimate:
    """The second largest separation over the largest."""
    ordered = separation(frame).apply(lambda row: pd.Series(sorted(row, reverse=True)), axis=1)
    return mean_t((ordered[1] / ordered[0]).to_numpy())


def figure(frames: Frames) -> Figure:
    """Attention by layer, and the label angle of neurons by layer and effect."""
    frame = frames[GPT.name]
    steps = float(frame["steps"].max())
    mean = pick(frame, "label_angle", {"over": "mean"})
    angles = mean.assign(which="layer " + mean["layer"].map("{:.0f}".format) + ", effect " + mean["effect"])
    read_off = [line(f"published, layer {n}", ((0.0, steps), ends), n - 1) for n, ends in LAYERS.items()]
    return Figure(
        panels=(
            Panel(
                title="attention on the query's pattern",
                x="step",
                y="attention mass",
                marks=(*curves(frame, "attention_same", by="layer", label="layer {:.0f}"), *read_off),
                y_range=(0.0, 1.05),
            ),
            Panel(
                title="angle of neurons to the label",
                x="step",
                y="angle (rad)",
                marks=tuple(curves(angles, "label_angle", by="which")),
            ),
        ),
        caption="Left: attention of the query token on the columns that carry its pattern, by layer (l = 20, "
        "alpha' = 0.8); published: the first and the last value, joined. Right: mean angle to the label's "
        "direction of what the MLP's neurons see of an attended token, by layer and by the sign of the neuron's "
        "direct effect on the output.",
    )


# A prediction about the layers of the small GPT-2.
mechanism = partial(Prediction, kind="mechanism", source="figures on three layers", of=GPT)


CLAIM = Claim(
    id="icl.layers",
    title="What survives in three layers",
    statement="In a three-layer network attention goes to the query's pattern in every layer; the turn of the "
    "neurons' label part holds for one of the layers.",
    source="figures on three layers (slides: holds for one of the layers)",
    cites=("li2024icl", "garg2022"),
    predictions=(
        mechanism(
            id="attention-every",
            statement="Attention on the query's pattern grows by 0.2 or more in every layer; published: by 0.33 to "
            "0.45.",
            statistic="growth of the attention mass in the layer where it grows least",
            predicted="at least 0.2",
            estimate=least_growth,
            rule=at_least(0.2),
        ),
        mechanism(
            id="attention-some",
            statement="In some layer it ends at 0.8 or more; published: 0.88.",
            statistic="attention mass after training in the layer where it is largest",
            predicted="at least 0.8",
            estimate=largest_mass,
            rule=at_least(0.8),
        ),
        mechanism(
            id="label-one",
            statement="In some layer neurons of opposite effect turn apart: their angles to the label differ by 0.5 "
            "or more.",
            statistic="difference of the mean label angles by effect, in the layer where it is largest (rad)",
            predicted="at least 0.5",
            estimate=largest_separation,
            rule=at_least(0.5),
        ),
        mechanism(
            id="label-only-one",
            statement="In no second layer do they turn apart half as far.",
            statistic="second largest difference over the largest",
            predicted="at most 0.5",
            estimate=second_separation,
            rule=at_most(0.5),
        ),
    ),
    figure=figure,
)

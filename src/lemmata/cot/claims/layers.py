"""cot.layers: in every layer at least one head attends to the query's step and pattern (Theorem 4, three layers)."""

from __future__ import annotations

from functools import partial

import pandas as pd

from lemmata.cot.deep import Deep
from lemmata.cot.experiments import SEEDS, SETTING_SEEDS
from lemmata.cot.probes import AttentionGroups
from lemmata.cot.published import LAYERS, line
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.figure import Figure, Panel, curves
from lemmata.lab.frames import pick
from lemmata.lab.grid import Experiment
from lemmata.lab.rule import at_least
from lemmata.lab.stats import Estimate, mean_t

DEEP = Experiment(
    name="deep",
    base=Deep(steps=500),
    measures=(AttentionGroups(every=20, alpha=0.7, prompts=256),),
    seeds=SEEDS,
    settings={
        "with an MLP": {"mlp": True},
        "K 3, alpha 0.4": {"K": 3, "alpha": 0.4},
        "lr 3e-4, 1000 steps": {"lr": 3e-4, "steps": 1000},
        "four heads": {"n_head": 4},
    },
    setting_seeds=SETTING_SEEDS,
)


def at_end(frame: pd.DataFrame, **group: str) -> pd.DataFrame:
    """Attention on one or several groups after training: a row a seed and layer, a column a head."""
    rows = pick(frame, "attention", dict(group))
    rows = rows[rows["x"] == rows["steps"]]
    return rows.groupby(["seed", "layer", "head"])["value"].sum().unstack("head")


def best_head(frame: pd.DataFrame, *, over: str, **group: str) -> Estimate:
    """The attention of each layer's best head, in the layer where it is least or largest."""
    by_layer = at_end(frame, **group).max(axis=1).unstack("layer")
    return mean_t((by_layer.min(axis=1) if over == "least" else by_layer.max(axis=1)).to_numpy())


def figure(frames: Frames) -> Figure:
    """Attention during training, layer by layer, its two heads apart."""
    frame = frames[DEEP.name]
    steps = float(frame["steps"].max())

    def panel(layer: int) -> Panel:
        marks = []
        for group, pattern in enumerate(("same", "different")):
            rows = pick(frame, "attention", {"pattern": pattern, "step": "same", "layer": layer})
            marks += curves(
                rows, "attention", by="head", label=f"head {{:.0f}}, {pattern} pattern", first_group=2 * group
            )
        off = pick(frame, "attention", {"step": "different", "layer": layer})
        summed = off.groupby(["seed", "x", "head"], as_index=False)["value"].sum().assign(metric="off")
        marks += curves(summed, "off", label="other steps, mean over heads", first_group=4)
        for group, known in ((1, LAYERS["same"]), (3, LAYERS["different"])):
            if layer in known:
                marks.append(line("published", (0.0, steps), known[layer], group))
        return Panel(title=f"layer {layer}", x="training step", y="attention", marks=tuple(marks), y_range=(0.0, 1.0))

    return Figure(
        panels=tuple(panel(layer) for layer in sorted(frame["layer"].dropna().astype(int).unique().tolist())),
        caption="Attention of the query on columns of its own step whose example starts where it does or elsewhere, "
        "and on columns of other steps, in each layer and head: K = 2, alpha = 0.7, l = 20. Published: the "
        "first and the last value, joined; its iterations are others.",
    )


# A prediction about the layers.
mechanism = partial(Prediction, kind="mechanism", source="Theorem 4 and the published figure on three layers", of=DEEP)


CLAIM = Claim(
    id="cot.layers",
    title="In every layer some head does so",
    statement="In a three-layer, two-head network at least one head of every layer attends to the columns of the "
    "query's step and pattern.",
    source="Theorem 4 and the published figure on three layers",
    cites=("li2025cot",),
    predictions=(
        mechanism(
            id="every-layer",
            statement="In every layer some head has at least half of its attention on the same step and pattern; "
            "published: 0.7.",
            statistic="attention of the best head on same step and pattern, in the layer where it is least",
            predicted="at least 0.5",
            estimate=partial(best_head, over="least", pattern="same", step="same"),
            rule=at_least(0.5),
        ),
        mechanism(
            id="some-layer",
            statement="In some layer it has 0.7 or more; published: 0.79.",
            statistic="attention of the best head on same step and pattern, in the layer where it is largest",
            predicted="at least 0.7",
            estimate=partial(best_head, over="largest", pattern="same", step="same"),
            rule=at_least(0.7),
        ),
        mechanism(
            id="step-every-layer",
            statement="In every layer some head has 0.8 or more on the same step, whatever the pattern; published: "
            "nearly 1.",
            statistic="attention of the best head on the same step, in the layer where it is least",
            predicted="at least 0.8",
            estimate=partial(best_head, over="least", step="same"),
            rule=at_least(0.8),
        ),
    ),
    figure=figure,
)

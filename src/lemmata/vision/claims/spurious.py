"""vision.spurious: borders that go with the label in training and not in new images (figure (v)), on digits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

from lemmata.lab.claim import Claim, Frames, Prediction, provided
from lemmata.lab.errors import DataError
from lemmata.lab.figure import Figure, Panel, curves, drawable
from lemmata.lab.frames import by_seed, failing, grid_by_seed, pick
from lemmata.lab.grid import Experiment
from lemmata.lab.rule import above, at_least
from lemmata.lab.stats import Estimate, mean_t, paired_t
from lemmata.vision.experiments import BORDERS, SPURIOUS

STARTS = {"clean": "clean images", "coloured": "coloured images"}
# "Near to 1", and what a network that has learned anything has.
NEAR, LEARNED = 0.95, 0.65


def started(frame: pd.DataFrame) -> pd.DataFrame:
    """The same rows.

    Raises:
        DataError: no pre-training, or nothing after it: there is no start, or no border, to speak of.
    """
    shares = set(frame["pre_share"])
    if not all(0 < share < 1 for share in shares):
        fix = "leave pre_share to the claim's own constant"
        raise DataError("a share of pre-training between 0 and 1", f"{', '.join(map(str, shares))}", fix)
    return frame


def accuracy(frame: pd.DataFrame, *, pretraining: str, border: int, metric: str = "accuracy") -> np.ndarray:
    """Accuracy on test images with borders of either kind, (S,)."""
    return by_seed(started(frame), metric, {"pretraining": pretraining, "border": border})


def gain(frame: pd.DataFrame, *, pretraining: str, widest: int) -> Estimate:
    """Accuracy without a border less that with the widest."""
    return paired_t(*(accuracy(frame, pretraining=pretraining, border=border) for border in (0, widest)))


def rise(frame: pd.DataFrame, *, pretraining: str) -> Estimate:
    """The rank correlation of accuracy with alpha_*, one a seed."""
    alpha_P, value_SP = grid_by_seed(started(frame), "accuracy", "x", {"pretraining": pretraining})
    if len(alpha_P) < 3:
        raise DataError("several alpha_*", f"{len(alpha_P)}", "leave border to the claim's own sweep")
    return mean_t(
        pd.DataFrame(value_SP.T, index=alpha_P).rank().corrwith(pd.Series(alpha_P, alpha_P).rank()).to_numpy()
    )


def level(frame: pd.DataFrame, *, pretraining: str) -> Estimate:
    """Accuracy without a border."""
    return mean_t(accuracy(frame, pretraining=pretraining, border=0))


def ahead(frame: pd.DataFrame) -> Estimate:
    """What the clean start is ahead of the coloured one, at the alpha_* where it is least."""
    tables = [grid_by_seed(started(frame), "accuracy", "x", {"pretraining": start})[1] for start in STARTS]
    if tables[0].shape != tables[1].shape:
        raise DataError("both starts at every alpha_*", "one", "leave pretraining to the claim's own sweep")
    return mean_t((tables[0] - tables[1]).min(1))


def drawn_to_image(frame: pd.DataFrame, *, widest: int) -> Estimate:
    """Attention on the image less its share of the tokens, after training with the widest border, clean start."""
    rows = pick(frame, "image_mass", {"pretraining": "clean", "border": widest})
    share = pick(frame, "accuracy", {"border": widest})["x"].iloc[0]
    return mean_t(by_seed(rows, "image_mass", {"x": rows["x"].max()}) - share)


def unlearned(frame: pd.DataFrame, *, starts: Sequence[str]) -> tuple[str, ...]:
    """Why nothing can be said of borders: networks that do not know the task with a border of its label's kind."""
    words = f"networks have an accuracy below {LEARNED} with borders that agree"
    return failing(pick(frame, "agreeing", {"pretraining": list(starts)}), words, at_least=LEARNED)


def figure(frames: Frames, of: Experiment) -> Figure:
    """Accuracy against alpha_* with borders of either kind and with conflicting ones, and attention on the image."""
    frame = frames[of.name]

    def accuracies(metric: str, title: str) -> Panel:
        marks = []
        for group, (start, words) in enumerate(STARTS.items()):
            where = {"pretraining": start}
            marks += curves(frame, metric, where=where, label=f"pre-trained on {words}", first_group=group)
        return Panel(title=title, x="alpha_*", y="accuracy", marks=tuple(marks))

    def attention() -> Panel:
        rows = pick(frame[frame["border"] > 0], "image_mass", {"pretraining": "clean"})
        marks = curves(rows, "image_mass", by="border", label="b = {}")
        return Panel(title="clean start", x="steps with borders", y="attention on the image", marks=tuple(marks))

    return Figure(
        panels=drawable(
            partial(accuracies, "accuracy", "border of either kind"),
            partial(accuracies, "conflicting", "border of the other kind"),
            attention,
        ),
        caption="Accuracy on test images against the share alpha_* of tokens that are the image's: the others are a "
        f"border of b crops of other images, whose kind was the label's in {frame['rho'].iloc[0]:.0%} of the training "
        "images. Right: the answer's attention on the image in the last layer, on images with a border of the other "
        "kind.",
    )


def predictions(of: Experiment, widest: int) -> tuple[Prediction, ...]:
    """The shape of figure (v), borders of up to so many patches."""
    prediction = partial(Prediction, kind="comparison", source="figure (v)", of=of)

    def of_learned(*predictions: Prediction, starts: Sequence[str]) -> tuple[Prediction, ...]:
        return provided(partial(unlearned, starts=starts), *predictions)

    each = [
        p
        for start, words in STARTS.items()
        for p in of_learned(
            prediction(
                id=f"gain-{start}",
                statement=f"After pre-training on {words} accuracy is higher without a border than with the widest.",
                statistic=f"accuracy on test images with b = 0 less that with b = {widest}",
                predicted="above 0",
                estimate=partial(gain, pretraining=start, widest=widest),
                rule=above(0.0),
            ),
            prediction(
                id=f"rises-{start}",
                statement=f"After pre-training on {words} accuracy rises steadily with alpha_*.",
                statistic="rank correlation of accuracy with alpha_*, one a seed",
                predicted="at least 0.8",
                estimate=partial(rise, pretraining=start),
                rule=at_least(0.8),
            ),
            starts=[start],
        )
    ]
    ahead_at_all = prediction(
        id="clean-ahead",
        statement="The clean start is ahead at every alpha_*.",
        statistic="accuracy after clean less that after coloured pre-training, at the alpha_* where it is least",
        predicted="above 0",
        estimate=ahead,
        rule=above(0.0),
    )
    of_clean = of_learned(
        prediction(
            id="near-1",
            statement="Without a border accuracy is near to 1 after pre-training on clean images.",
            statistic="accuracy on test images with b = 0",
            predicted=f"at least {NEAR}",
            estimate=partial(level, pretraining="clean"),
            rule=at_least(NEAR),
        ),
        prediction(
            id="attention",
            statement="Attention prefers the image to the border: it has more than its share of the tokens.",
            kind="mechanism",
            source="Proposition 2, of this network",
            statistic=f"attention on the image less alpha_*, b = {widest}, images with a border of the other kind",
            predicted="above 0",
            estimate=partial(drawn_to_image, widest=widest),
            rule=above(0.0),
        ),
        starts=["clean"],
    )
    return (*each, *of_clean, *of_learned(ahead_at_all, starts=list(STARTS)))


CLAIM = Claim(
    id="vision.spurious",
    title="Spurious borders, on digits",
    statement="The more of a sample's tokens are relevant, the higher the accuracy where the others go with the label "
    "in training only, and the higher the better the start. On scikit-learn's digits of 2 to 9: is it even? Borders "
    "are crops of zeros and ones, of the label's kind in nine of ten training images.",
    source="figure (v) (CIFAR-10 with plants of ImageNet)",
    cites=("li2023vision",),
    predictions=predictions(SPURIOUS, max(BORDERS)),
    figure=partial(figure, of=SPURIOUS),
)

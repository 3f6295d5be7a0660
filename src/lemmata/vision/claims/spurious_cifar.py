"""vision.spurious-cifar: the same on photographs."""

from __future__ import annotations

from functools import partial

from lemmata.lab.claim import Claim
from lemmata.vision.claims.spurious import figure, predictions
from lemmata.vision.experiments import BORDERS_CIFAR, SPURIOUS_CIFAR

CLAIM = Claim(
    id="vision.spurious-cifar",
    title="Spurious borders, on CIFAR-10",
    statement="The more of a sample's tokens are relevant, the higher the accuracy where the others go with the label "
    "in training only, and the higher the better the start. On cars and trucks of CIFAR-10 at 24 x 24 pixels. Borders "
    "are crops of frogs and ships, of the label's kind in seven of ten training images. Takes about 7 minutes with "
    "--quick on two cores, and 25 without.",
    source="figure (v) (CIFAR-10 with plants of ImageNet)",
    cites=("li2023vision",),
    needs=("data:cifar10",),
    predictions=predictions(SPURIOUS_CIFAR, max(BORDERS_CIFAR)),
    figure=partial(figure, of=SPURIOUS_CIFAR),
)

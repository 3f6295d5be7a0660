"""vision.sparsify: which tokens can go (the remarks on Theorem 1)."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.figure import Figure, Panel, curves
from lemmata.lab.frames import by_seed
from lemmata.lab.rule import above, within
from lemmata.lab.stats import Estimate, paired_t
from lemmata.vision.data import POLICIES
from lemmata.vision.experiments import LEARNED, THINNED, of_learned
from lemmata.vision.published import REMOVED, line
from lemmata.vision.published import THINNED as PUBLISHED

MOST = 20
WORDS = {"random": "any tokens", "irrelevant": "irrelevant tokens", "noisy": "noisy tokens"}


def loss(frame: pd.DataFrame, policy: str, removed: int) -> np.ndarray:
    """The loss on new samples, (S,)."""
    return by_seed(frame, "hinge", {"policy": policy, "removed": removed})


def saved(frame: pd.DataFrame, *, policy: str) -> Estimate:
    """The loss with all tokens less that without 20 of a kind."""
    return paired_t(loss(frame, policy, 0), loss(frame, policy, MOST))


def better(frame: pd.DataFrame, *, policy: str, than: str) -> Estimate:
    """The loss without 20 tokens of one kind less that without 20 of another."""
    return paired_t(loss(frame, than, MOST), loss(frame, policy, MOST))


def figure(frames: Frames) -> Figure:
    """Loss against the tokens removed."""
    frame = frames[THINNED.name]
    marks = []
    for group, policy in enumerate(POLICIES):
        where = {"policy": policy}
        marks += curves(frame, "hinge", x="removed", label=WORDS[policy], where=where, first_group=group)
    marks += [line(f"{WORDS[policy]}, published", REMOVED, PUBLISHED[policy], g) for g, policy in enumerate(POLICIES)]
    panel = Panel(title="loss on new samples", x="tokens removed", y="hinge loss", marks=tuple(marks))
    return Figure(
        panels=(panel,),
        caption="Hinge loss on new samples against the number of tokens that are removed, of 50, in training and in "
        "new samples alike; 15 are relevant, 3 confusion, and 25 of all are noisy. N = 80.",
    )


# A prediction about the loss without 20 tokens.
prediction = partial(Prediction, kind="comparison", source="figure (iv)", of=THINNED)

CLAIM = Claim(
    id="vision.sparsify",
    title="Which tokens can go",
    statement="Removing label-irrelevant or noisy tokens raises alpha_* or lowers tau, and with that lowers "
    "the loss; removing any does not. Asked with 15 relevant and 3 confusion tokens of 50, half of all noisy, and W_Q "
    "and W_K learning 20 times as fast.",
    source="remarks on Theorem 1, figure (iv)",
    cites=("li2023vision",),
    predictions=of_learned(
        *(
            prediction(
                id=policy,
                statement=f"Without {MOST} {WORDS[policy]} the loss is lower than with all.",
                statistic=f"loss on new samples with all tokens less that without {MOST} {WORDS[policy]}",
                predicted="above 0",
                estimate=partial(saved, policy=policy),
                rule=above(0.0),
            )
            for policy in ("irrelevant", "noisy")
        ),
        prediction(
            id="random",
            statement=f"Without {MOST} tokens of any kind it is the same, to 0.02.",
            statistic=f"loss on new samples with all tokens less that without {MOST} of any kind",
            predicted="0, to 0.02",
            estimate=partial(saved, policy="random"),
            rule=within(0.0, 0.02),
        ),
        *(
            prediction(
                id=f"{policy}-over-{than}",
                statement=f"Removing {MOST} {WORDS[policy]} is better than removing as many {WORDS[than]}.",
                statistic=f"loss without {MOST} {WORDS[than]} less that without {MOST} {WORDS[policy]}",
                predicted="above 0",
                estimate=partial(better, policy=policy, than=than),
                rule=above(0.0),
            )
            for policy, than in (("irrelevant", "noisy"), ("noisy", "random"))
        ),
        bound=LEARNED,
    ),
    figure=figure,
)

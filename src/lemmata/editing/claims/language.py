"""editing.language: unlearning a book by negation, on a language model of 260,032 parameters (after Table E).

A member takes 45 seconds of one core: on two cores 2.5 minutes with --quick (`lemmata check editing.language --quick
--workers 2`), 7 at the default profile.

What a model this small can show is which of the passages that it was taught an edit takes from it, and how those taught
beside them fare. What it cannot: it has no knowledge of its own of any book, so that a base taught 64 passages of each
stands for what Phi-3-small has read, and what it knows of them are words, not characters or plots. That two books are
by one author it can notice by style and names only; the setting with 800 passages of each book, too many to learn by
heart, asks it where style is all that is learned. And Rouge-L has a floor: a model that knows a passage no longer still
shares the words with it that all English does, about 0.12, which leaves little order among the books where all are
forgotten. Cross-entropy has no floor of this kind, and is asked too.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from lemmata.editing.language import Language
from lemmata.editing.language_probes import Forgetting
from lemmata.editing.published_language import line, lost
from lemmata.lab.claim import Claim, Frames, Prediction
from lemmata.lab.errors import DataError
from lemmata.lab.figure import Figure, Panel, curves
from lemmata.lab.frames import by_seed, grid_by_seed, pick
from lemmata.lab.grid import ByProfile, Experiment
from lemmata.lab.rule import above, at_least, at_most
from lemmata.lab.stats import Estimate, mean_t, paired_t

# The edit that Table E ends with.
LAST = -1.0
# How much of the edited book's loss the unrelated one may have; published: 0.37.
SPARED = 0.5
# Kendall's tau of six points in order but for one swap of neighbours is 0.87, for two 0.73.
IN_ORDER = 0.8

# Chosen on seeds from 1000 on: passages and steps so that the base's Rouge-L is about that of Table E, and as many
# steps of fine-tuning as cost the edited book about half of it. What the other books lose was not chosen by.
BOOKS = Experiment(
    name="language",
    base=Language(),
    measures=(Forgetting(),),
    seeds=ByProfile(quick=5, default=8, full=20),
    settings={
        "full fine-tuning": {"tuning": "full"},
        "800 passages of each book": {"seen": 800},
        "the Memoirs edited": {
            "edited": "doyle-memoirs_of_sherlock_holmes",
            "sibling": "doyle-adventures_of_sherlock_holmes",
        },
    },
    setting_seeds=ByProfile(quick=0, default=3, full=5),
)


def loss_rise(frame: pd.DataFrame, book: str, part: str = "seen") -> np.ndarray:
    """By how much the edit raises the mean loss of a token, the logarithm of the perplexity, (S,)."""
    before, after = (by_seed(frame, "perplexity", {"book": book, "part": part, "x": lam}) for lam in (0.0, LAST))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(after) - np.log(before)


def rouge_lost(frame: pd.DataFrame, book: str) -> np.ndarray:
    """The share of its Rouge-L that a book loses by the edit, (S,)."""
    before, after = (by_seed(frame, "rouge", {"book": book, "x": lam}) for lam in (0.0, LAST))
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1 - after / before


def more_lost(frame: pd.DataFrame, one: str, other: str) -> Estimate:
    """The share of its Rouge-L that one book loses minus that of another."""
    return paired_t(rouge_lost(frame, one), rouge_lost(frame, other))


def more_risen(frame: pd.DataFrame, one: str, other: str) -> Estimate:
    """The rise of one book's loss minus that of another's."""
    return paired_t(loss_rise(frame, one), loss_rise(frame, other))


def beyond_spared(frame: pd.DataFrame) -> Estimate:
    """What the unrelated book loses of its Rouge-L beyond SPARED of what the edited book loses."""
    return paired_t(rouge_lost(frame, "unrelated"), SPARED * rouge_lost(frame, "edited"))


def in_order(frame: pd.DataFrame) -> Estimate:
    """Kendall's tau of the edited book's Rouge-L with lambda."""
    lambdas, rouge_SX = grid_by_seed(frame, "rouge", "x", {"book": "edited"})
    if len(lambdas) < 2:
        raise DataError("several lambda to put in order", "none but one", "leave lambdas to the claim's own sweep")
    return mean_t([_tau(lambdas, row) if np.isfinite(row).all() else np.nan for row in rouge_SX])


def _tau(x: np.ndarray, y: np.ndarray) -> float:
    found: Any = kendalltau(x, y)
    return found.statistic


def beyond_style(frame: pd.DataFrame) -> Estimate:
    """The rise of the loss on passages of the edited book that were trained on, minus that on others of it."""
    return paired_t(loss_rise(frame, "edited"), loss_rise(frame, "edited", "unseen"))


def figure(frames: Frames) -> Figure:
    """Rouge-L with the published numbers, then perplexity on passages that were trained on and on others."""
    frame = frames[BOOKS.name]
    # Roles in the order of the alphabet, which is that of the table.
    roles = sorted(pick(frame, "rouge")["book"].unique())
    published = (line(role, group) for group, role in enumerate(roles))

    def perplexities(title: str, part: str) -> Panel:
        marks = curves(frame, "perplexity", by="book", where={"part": part})
        return Panel(title=title, x="lambda", y="perplexity", marks=tuple(marks), y_log=True)

    return Figure(
        panels=(
            Panel(
                title="continuations",
                x="lambda",
                y="Rouge-L",
                marks=(*curves(frame, "rouge", by="book"), *published),
            ),
            perplexities("passages trained on", "seen"),
            perplexities("other passages", "unseen"),
        ),
        caption="Rouge-L of greedy continuations of passages that were trained on, and perplexity on these and on "
        "others, after the edit Psi^(0) + lambda Delta with the task vector of the edited book, for this book, its "
        "sibling of the same author and the book of another author. Published: Phi-3-small on Harry Potter 1, Harry "
        "Potter 2 and Pride and Prejudice.",
    )


# A prediction about the edit with lambda = -1.
prediction = partial(Prediction, kind="comparison", source="Table E", of=BOOKS)


def _percent(*roles: str) -> str:
    return " and ".join(f"{100 * lost(role):.0f} %" for role in roles)


PAIRS = (
    ("edited", "sibling", "The edited book loses more {} than its sibling"),
    ("sibling", "unrelated", "The sibling loses more {} than the unrelated book"),
)

CLAIM = Claim(
    id="editing.language",
    title="Unlearning a book",
    statement="Subtracting the task vector of a book makes a language model forget this book most, another one of the "
    "same author less, and one of another author least; here with 260,032 parameters, which can learn passages by "
    "heart and some of a style, but knows no stories.",
    source="Table E",
    cites=("li2025editing",),
    needs=("extra:transformers", "extra:peft", "extra:rouge_score", "data:books", "data:stories260k"),
    predictions=(
        *(
            prediction(
                id=f"rouge-{one}-{other}",
                statement=f"{words.format('of its Rouge-L')}; published: {_percent(one, other)}.",
                statistic=f"share of its Rouge-L that the {one} book loses minus that of the {other} one",
                predicted="above 0",
                estimate=partial(more_lost, one=one, other=other),
                rule=above(0.0),
            )
            for one, other, words in PAIRS
        ),
        *(
            prediction(
                id=f"loss-{one}-{other}",
                statement=f"{words.format('of what it could foretell')}: its cross-entropy rises more.",
                source="Table E, asked of the cross-entropy",
                statistic=f"rise of the {one} book's log-perplexity minus that of the {other} one's",
                predicted="above 0",
                estimate=partial(more_risen, one=one, other=other),
                rule=above(0.0),
            )
            for one, other, words in PAIRS
        ),
        prediction(
            id="unrelated-spared",
            statement="The unrelated book loses at most half the share of its Rouge-L that the edited one does; "
            f"published: {_percent('unrelated', 'edited')}.",
            kind="holds",
            statistic="share that the unrelated book loses minus half the share that the edited book loses",
            predicted="at most 0",
            estimate=beyond_spared,
            rule=at_most(0.0),
        ),
        prediction(
            id="in-order",
            statement="The Rouge-L of the edited book falls with lambda all the way; published: at every step.",
            kind="mechanism",
            statistic="Kendall's tau of the edited book's Rouge-L with lambda, from 0 to -1",
            predicted=f"at least {IN_ORDER}",
            estimate=in_order,
            rule=at_least(IN_ORDER),
        ),
        prediction(
            id="text-not-style",
            statement="What is forgotten of the edited book is its text: the cross-entropy rises more on the passages "
            "that were trained on than on others of the same book.",
            kind="mechanism",
            source="made here",
            statistic="rise of the log-perplexity on passages that were trained on minus that on others",
            predicted="above 0",
            estimate=beyond_style,
            rule=above(0.0),
        ),
    ),
    figure=figure,
)

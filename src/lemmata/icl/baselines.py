"""Classical learners that see one prompt's examples and nothing else, beside the trained network on the same prompts.

    learner      what is fitted on the l examples of a prompt                     by
    logistic     logistic regression with an l2 penalty, C = 1                    scikit-learn
    svm-linear   support vector machine, linear kernel, C = 1                     scikit-learn
    svm-gauss    support vector machine, kernel exp(-gamma |x - x'|^2), C = 1     scikit-learn
    1-nn, 3-nn   the label of the nearest, or of most of the three nearest        torch

The paper (Li et al., ICML 2024, arXiv 2402.15607) does not state their constants, so all of them are scikit-learn's
defaults. Among these, gamma is 1 / (D var x) with the variance over all coordinates of all examples, so that the
Gaussian machine alone depends on the basis of the inputs, by a few per cent of gamma; here it is the patterns' own.
Nearest neighbours are done by hand, since scikit-learn's calls cost tens of times as much as the work.

Shapes: E members, B prompts, L = l examples, D coordinates of an input.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from lemmata.icl.data import Prompts
from lemmata.icl.prompting import Prompting
from lemmata.icl.testing import TestSet, check_test, outputs
from lemmata.lab.ensemble import Snapshot
from lemmata.lab.errors import InputError, nearest
from lemmata.lab.losses import error
from lemmata.lab.measures import joined, rows
from lemmata.lab.trainee import Measure, Row, coordinate

__all__ = ["CLASSICAL", "NETWORK", "Baselines", "predict"]

FITTED = ("logistic", "svm-linear", "svm-gauss")
NEIGHBOURS = {"1-nn": 1, "3-nn": 3}
CLASSICAL = (*FITTED, *NEIGHBOURS)
NETWORK = "icl"


def predict(learner: str, x_BLD: Tensor, y_BL: Tensor, query_BD: Tensor) -> Tensor:
    """The label +-1 that a classical learner gives each query from its own prompt's examples, label_B on the CPU.

    A prompt in which all examples have one label is answered with that label. A prompt without examples has no answer:
    0, which `lemmata.lab.losses.error` counts as wrong, as it does a network's output of 0. Of equally near neighbours
    the earlier example comes first, and a tied vote, possible with fewer examples than neighbours only, goes to the
    nearest.

    Raises:
        InputError: there is no such learner.

    >>> x_BLD = torch.tensor([[[0.0, 1.0], [1.0, 0.0], [1.0, 0.2], [0.0, 0.9]]])
    >>> y_BL = torch.tensor([[1.0, -1.0, -1.0, 1.0]])
    >>> [predict(learner, x_BLD, y_BL, torch.tensor([[0.9, 0.3]])).item() for learner in CLASSICAL]
    [-1.0, -1.0, -1.0, -1.0, -1.0]
    """
    if learner not in CLASSICAL:
        raise InputError(f"a classical learner, {', '.join(CLASSICAL)}", learner, nearest(learner, CLASSICAL))
    x_BLD, y_BL, query_BD = x_BLD.double().cpu(), y_BL.cpu(), query_BD.double().cpu()
    if y_BL.shape[1] == 0:
        return y_BL.new_zeros(len(y_BL))
    if learner in NEIGHBOURS:
        return _vote(NEIGHBOURS[learner], x_BLD, y_BL, query_BD)
    return _fitted(learner, x_BLD, y_BL, query_BD)


def _vote(k: int, x_BLD: Tensor, y_BL: Tensor, query_BD: Tensor) -> Tensor:
    distance_BL = (x_BLD - query_BD.unsqueeze(1)).square().sum(-1)
    nearest_BK = y_BL.gather(1, distance_BL.argsort(dim=1, stable=True)[:, :k])
    vote_B = nearest_BK.sum(1).sign()
    return torch.where(vote_B == 0, nearest_BK[:, 0], vote_B)


def _fitted(learner: str, x_BLD: Tensor, y_BL: Tensor, query_BD: Tensor) -> Tensor:
    # Loaded here: a large import for the workers of this paper, most of which fit nothing.
    import sklearn
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC
    from threadpoolctl import threadpool_limits

    new: dict[str, Callable[[], Any]] = {
        "logistic": LogisticRegression,
        "svm-linear": lambda: SVC(kernel="linear"),
        "svm-gauss": lambda: SVC(kernel="rbf"),
    }
    label_B = y_BL[:, 0].clone()
    two_classes_B = (y_BL != y_BL[:, :1]).any(1)
    # A fit takes about a millisecond, to which checking what is known to be right would add a quarter. That the default
    # number of iterations may not do for inputs of a large norm is part of the default, and no warning.
    with (
        threadpool_limits(1),
        sklearn.config_context(assume_finite=True, skip_parameter_validation=True),
        warnings.catch_warnings(action="ignore", category=ConvergenceWarning),
    ):
        for b in two_classes_B.nonzero().flatten().tolist():
            model = new[learner]().fit(x_BLD[b].numpy(), y_BL[b].numpy())
            label_B[b] = model.predict(query_BD[b : b + 1].numpy()).item()
    return label_B


@final
@dataclass(frozen=True, kw_only=True)
class Baselines(Measure):
    """0-1 errors of the trained network ("icl") and of classical learners on the very same in-domain prompts.

    The classical learners' rows are a function of the seed and of the data's constants alone.
    """

    name: ClassVar[str] = "baselines"

    learners: tuple[str, ...] = (NETWORK, *CLASSICAL)
    lengths: tuple[int, ...] = (6, 10, 14, 20)
    alpha_test: tuple[float, ...] = coordinate((0.6, 0.8), "alpha' of the test prompts", origin="given")
    prompts: int = 200

    def validate(self, config: Prompting) -> None:
        """Such prompts must exist."""
        check_test(config, self.alpha_test, ())

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """Rows "error" at x = l, with the coordinates learner and alpha_test."""
        parts: list[list[list[Row]]] = []
        for alpha in self.alpha_test:
            longest = TestSet(l=max(self.lengths), alpha=alpha, prompts=self.prompts).ensemble(snapshot)
            for l in self.lengths:
                prompts = longest.first(l)
                for learner in self.learners:
                    answer_EB = _answers(learner, snapshot, prompts)
                    error_E = error(answer_EB, prompts.target_EB.to(answer_EB.device))
                    parts.append(rows("error", l, error_E, {"learner": learner, "alpha_test": alpha}))
        return joined(parts)


def _answers(learner: str, snapshot: Snapshot, prompts: Prompts) -> Tensor:
    """What decides each prompt by its sign, the network's output or a classical learner's label, answer_EB."""
    if learner == NETWORK:
        return outputs(snapshot, prompts)
    V = snapshot.configs[0].M1 + snapshot.configs[0].M2
    label_EB = [
        predict(learner, column_BLD[:, :-1, :V], column_BLD[:, :-1, V], column_BLD[:, -1, :V])
        for column_BLD in prompts.columns(V)
    ]
    return torch.stack(label_EB)

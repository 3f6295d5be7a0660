"""The classical learners against scikit-learn itself, and the measure's rows against both."""

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from lemmata.icl.baselines import CLASSICAL, NETWORK, Baselines, predict
from lemmata.icl.data import draw, task_set
from lemmata.icl.network import OneLayer
from lemmata.icl.testing import TestSet, outputs
from lemmata.lab.errors import InputError
from lemmata.lab.grid import Cell, measure
from lemmata.lab.losses import error

V = 30
SKLEARN = {
    "logistic": LogisticRegression,
    "svm-linear": lambda: SVC(kernel="linear"),
    "svm-gauss": lambda: SVC(kernel="rbf"),
    "1-nn": lambda: KNeighborsClassifier(1),
    "3-nn": lambda: KNeighborsClassifier(3),
}


def examples(count, l, alpha=0.6):
    prompts = draw(np.random.default_rng(l), count, l, alpha=alpha, kappa=0.5, beta=1.0, tasks=task_set("all", 6))
    columns_BLD = prompts.columns(V)[0]
    return columns_BLD[:, :-1, :V], columns_BLD[:, :-1, V], columns_BLD[:, -1, :V], prompts.target_EB[0]


@pytest.mark.parametrize("learner", CLASSICAL)
@pytest.mark.parametrize("l", [6, 20])
def test_every_prompt_is_answered_as_by_scikit_learn(learner, l):
    x_BLD, y_BL, query_BD, _ = examples(40, l)
    two_classes = [b for b in range(40) if y_BL[b].unique().numel() == 2]
    fitted = [SKLEARN[learner]().fit(x_BLD[b].double().numpy(), y_BL[b].numpy()) for b in two_classes]
    expected = [
        model.predict(query_BD[b : b + 1].double().numpy()).item() for b, model in zip(two_classes, fitted, strict=True)
    ]
    label_B = predict(learner, x_BLD, y_BL, query_BD)
    assert label_B[two_classes].tolist() == expected
    assert len(set(expected)) == 2


@pytest.mark.parametrize("learner", CLASSICAL)
def test_separable_prompts_are_answered_right(learner):
    # With alpha = 1 every example carries one of two orthogonal patterns, and with it the right label.
    x_BLD, y_BL, query_BD, target_B = examples(50, 20, alpha=1.0)
    assert torch.equal(predict(learner, x_BLD, y_BL, query_BD), target_B)


@pytest.mark.parametrize("learner", CLASSICAL)
def test_a_prompt_of_one_class_returns_that_class(learner):
    x_BLD, _, query_BD, target_B = examples(4, 6)
    label_B = torch.tensor([1.0, -1.0, -1.0, 1.0])
    y_BL = label_B[:, None].expand(4, 6)
    assert torch.equal(predict(learner, x_BLD, y_BL, query_BD), label_B)
    assert not torch.equal(label_B, target_B)


@pytest.mark.parametrize("learner", CLASSICAL)
def test_a_prompt_without_examples_has_no_answer_and_counts_as_wrong(learner):
    label_B = predict(learner, torch.empty(2, 0, V), torch.empty(2, 0), torch.ones(2, V))
    assert label_B.tolist() == [0, 0]
    assert error(label_B, torch.tensor([1.0, -1.0])) == 1


def test_of_equally_near_neighbours_the_earlier_counts():
    # Four examples at the same distance of the query, in two orders.
    x_BLD = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]]).expand(2, 4, 2)
    y_BL = torch.tensor([[1.0, -1.0, -1.0, 1.0], [-1.0, 1.0, 1.0, -1.0]])
    assert predict("1-nn", x_BLD, y_BL, torch.zeros(2, 2)).tolist() == [1, -1]
    assert predict("3-nn", x_BLD, y_BL, torch.zeros(2, 2)).tolist() == [-1, 1]


def test_a_tied_vote_goes_to_the_nearest():
    x_BLD = torch.tensor([[[0.0, 1.0], [0.5, 0.0]]])
    assert predict("3-nn", x_BLD, torch.tensor([[-1.0, 1.0]]), torch.zeros(1, 2)).tolist() == [1]
    assert predict("3-nn", x_BLD, torch.tensor([[1.0, -1.0]]), torch.zeros(1, 2)).tolist() == [-1]


def test_a_fit_that_does_not_converge_is_no_warning():
    # Warnings are errors here, and at this norm the default 100 iterations do not do for some prompts.
    x_BLD, y_BL, query_BD, _ = examples(100, 20)
    x_BLD, query_BD = 100 * x_BLD, 100 * query_BD
    with pytest.warns(ConvergenceWarning):
        for x_LD, y_L in zip(x_BLD.double().numpy(), y_BL.numpy(), strict=True):
            LogisticRegression().fit(x_LD, y_L)
    assert predict("logistic", x_BLD, y_BL, query_BD).abs().tolist() == [1] * 100


def test_an_unknown_learner_is_refused():
    with pytest.raises(InputError, match="did you mean svm-linear"):
        predict("svm-lin", *examples(1, 6)[:3])


def test_the_rows_are_the_errors_on_the_same_prompts():
    config = OneLayer(steps=150, beta=1.5)
    baselines = Baselines(lengths=(6, 10), alpha_test=(0.6, 0.8), prompts=60)
    results = measure([Cell(config, seed, (baselines,)) for seed in (0, 1)])[0]
    snapshot = config.train([0, 1])
    for e, result in enumerate(results):
        found = {(row.at["learner"], row.at["alpha_test"], row.x): row.value for row in result.rows}
        assert len(found) == len(result.rows) == 6 * 2 * 2
        for alpha in (0.6, 0.8):
            prompts = TestSet(l=10, alpha=alpha, prompts=60).ensemble(snapshot)
            for l in (6, 10):
                columns_BLD = prompts.first(l).columns(V)[e]
                for learner in CLASSICAL:
                    label_B = predict(learner, columns_BLD[:, :l, :V], columns_BLD[:, :l, V], columns_BLD[:, l, :V])
                    assert found[learner, alpha, l] == pytest.approx(error(label_B, prompts.target_EB[e]))
                network_E = error(outputs(snapshot, prompts.first(l)), prompts.target_EB)
                assert found[NETWORK, alpha, l] == pytest.approx(network_E[e].item())
    assert results[0].rows != results[1].rows

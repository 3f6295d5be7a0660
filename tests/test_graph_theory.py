"""What the graph paper predicts, as functions."""

import numpy as np
import pytest

from lemmata.graph.theory import (
    CONFUSION,
    LABELS,
    LABELS_UNIFORM,
    STEPS,
    condition,
    core_distance,
    labels,
    margins,
    steps,
)
from lemmata.lab.errors import InputError


def test_labels_and_steps_are_their_powers():
    gamma = np.array([0.1, 0.2, 1.0])
    assert labels(gamma, constant=3.0) == pytest.approx([300, 75, 3])
    assert labels(gamma, attention=False) == pytest.approx([1e4, 625, 1])
    assert labels(0.5, [0.0, 0.25, 0.4]) == pytest.approx([4, 16, 100])
    least, most = steps(gamma, constant=2.0)
    assert least == pytest.approx([20, 10, 2]) and most == pytest.approx([200, 50, 2])
    assert (LABELS, LABELS_UNIFORM, CONFUSION, STEPS) == (-2, -4, -2, (-2, -1))


def test_margins_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    count_NZK = rng.integers(0, 5, (40, 3, 4))
    size_NZ = count_NZK.sum(2) + rng.integers(0, 3, (40, 3))
    label_N = rng.integers(-1, 4, 40)
    found = margins(count_NZK, size_NZ, label_N)
    for n, label in enumerate(label_N):
        for z in range(3):
            if label < 0 or size_NZ[n, z] == 0:
                assert np.isnan(found[n, z])
                continue
            others = max(count_NZK[n, z, k] for k in range(4) if k != label)
            assert found[n, z] == pytest.approx((count_NZK[n, z, label] - others) / size_NZ[n, z])


def test_the_core_is_where_the_mean_margin_is_largest_among_those_known():
    assert core_distance([[0.1, np.nan, 0.3], [0.2, np.nan, -0.3]]) == 1
    assert core_distance([[-0.5, -0.1, np.nan]]) == 2
    assert core_distance([[0.9, np.nan], [0.9, np.nan], [0.9, 1.0]]) == 1


def test_the_condition_is_the_share_of_nodes_that_obey():
    margin_NZ = np.array([[0.5, -0.1], [0.0, 0.2], [np.nan, 0.1], [0.2, np.nan]])
    assert condition(margin_NZ, 1) == 0.5 and condition(margin_NZ, 2) == 0.5


@pytest.mark.parametrize(
    "call",
    [
        lambda: margins(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros(2, int)),
        lambda: margins(np.zeros((2, 3, 2)), np.zeros((2, 2)), np.zeros(2, int)),
        lambda: margins(np.zeros((2, 3, 1)), np.zeros((2, 3)), np.zeros(2, int)),
        lambda: margins(np.zeros((2, 3, 2)), np.zeros((2, 3)), np.array([0, 2])),
        lambda: core_distance(np.full((2, 2), np.nan)),
        lambda: core_distance([0.1, 0.2]),
        lambda: condition([[0.1]], 0),
        lambda: condition([[0.1]], 2),
        lambda: labels(0.0),
        lambda: labels(1.1),
        lambda: labels(0.5, 0.5),
        lambda: labels(0.5, -0.1),
        lambda: labels(float("nan")),
        lambda: steps([0.5, 2.0]),
    ],
)
def test_what_has_no_meaning_is_refused(call):
    with pytest.raises(InputError) as caught:
        call()
    assert caught.value.fix

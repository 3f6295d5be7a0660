"""What the vision paper predicts, as functions."""

import math

import numpy as np
import pytest

from lemmata.lab.errors import InputError
from lemmata.vision.theory import (
    CONFUSION,
    MASS,
    SAMPLES,
    SAMPLES_UNIFORM,
    STEPS,
    allowed,
    ceiling,
    mass,
    samples,
    steps,
)


def test_sizes_and_steps_are_their_powers():
    alpha = np.array([0.1, 0.2, 1.0])
    assert samples(alpha, constant=3.0) == pytest.approx([300, 75, 3])
    assert samples(alpha, attention=False) == pytest.approx([1e4, 625, 1])
    assert steps(alpha, 0.5, constant=2.0) == pytest.approx([40, 20, 4])
    assert (SAMPLES, SAMPLES_UNIFORM, STEPS) == (-2, -4, -1) and pytest.approx(math.exp(-1) / 2) == CONFUSION


def test_the_ceiling_is_the_share_of_relevant_tokens_among_discriminative_ones():
    for relevant, confusion in ((27, 3), (9, 0), (4, 3)):
        assert float(ceiling(confusion / relevant)) == pytest.approx(relevant / (relevant + confusion))
    assert ceiling([0.0, 1.0]).tolist() == [1.0, 0.5]


def test_confusion_is_allowed_up_to_c_times_the_relevant_share():
    assert allowed([0.2, 0.4], 0.05, c=0.15).tolist() == [False, True]
    assert allowed(0.4, 0.4 * CONFUSION) and not allowed(0.4, 0.4 * CONFUSION + 1e-9) and allowed(1.0, 0.0)


def test_attention_is_bounded_from_below_as_time_goes_by():
    assert mass([1, 4, 400], constant=2.0) == pytest.approx([0, 0.5, 0.995]) and MASS == -1


@pytest.mark.parametrize(
    "call",
    [
        lambda: samples(0.0),
        lambda: samples([0.5, 1.1]),
        lambda: samples(math.nan),
        lambda: steps(-0.5, 0.1),
        lambda: steps(0.5, 0.0),
        lambda: steps(0.5, math.inf),
        lambda: allowed(0.0, 0.1),
        lambda: allowed(0.5, -0.1),
        lambda: allowed(0.5, 0.1, c=0.2),
        lambda: allowed(0.5, 0.1, c=0.0),
        lambda: mass(0.0),
        lambda: mass([1.0, math.nan]),
        lambda: ceiling(-0.1),
        lambda: ceiling([0.1, math.nan]),
    ],
)
def test_what_is_no_share_and_no_rate_is_refused(call):
    with pytest.raises(InputError) as caught:
        call()
    assert caught.value.expected and caught.value.got and caught.value.fix

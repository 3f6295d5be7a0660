"""Randomness: a function of its axes and of nothing else, down to the bit."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from lemmata.icl.data import Prompts
from lemmata.icl.gpt import SmallGPT
from lemmata.icl.network import OneLayer
from lemmata.lab.streams import BLOCK, GENERATOR, Blocks, stream

# Members that differ in everything that a member may have of its own.
CONDITIONS = [
    OneLayer(m=8, B=6, l_tr=10),
    OneLayer(m=8, B=6, l_tr=10, alpha=0.4, beta=1.0),
    OneLayer(m=8, B=6, l_tr=10, sampler="exact", tasks="all", kappa=0.1),
    OneLayer(m=8, B=6, l_tr=10, lr=2.0, xi=0.3, delta=0.1),
]
MEMBERS = [(CONDITIONS[i % 4], i // 4) for i in range(64)]
LOOKS = (0, 1, BLOCK - 1, BLOCK, 3 * BLOCK + 5)


PARTS = [f.name for f in fields(Prompts) if f.name != "axis_EVD"]


def drawn(members, steps=LOOKS):
    """The prompts of each member at some steps, as the tensors that they consist of."""
    configs, seeds = zip(*members, strict=True)
    draws = type(configs[0]).job(configs, seeds, "cpu").draws
    found = [[] for _ in members]
    for step in steps:
        prompts = draws(step)
        for e, mine in enumerate(found):
            mine += [getattr(prompts, name)[e].clone() for name in PARTS]
    return found


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


# Prompts of a member


@pytest.fixture(scope="module")
def alone():
    """Every member's prompts when it trains on its own."""
    return [drawn([member])[0] for member in MEMBERS]


@pytest.mark.parametrize("size", [2, 3, 8, 64])
def test_a_members_prompts_are_the_same_alone_and_in_a_chunk_of_any_size(size, alone):
    for begin in range(0, 64, size):
        chunk = drawn(MEMBERS[begin : begin + size])
        assert all(equal(mine, before) for mine, before in zip(chunk, alone[begin : begin + size], strict=True))


def test_neither_order_nor_other_conditions_change_a_members_prompts(alone):
    order = [5, 60, 2, 33]
    assert all(equal(mine, alone[i]) for mine, i in zip(drawn([MEMBERS[i] for i in order]), order, strict=True))
    added = [(OneLayer(m=8, B=6, l_tr=10, alpha=0.9), 0), *MEMBERS[:2], (OneLayer(m=8, B=6, l_tr=10, M2=24), 99)]
    assert all(equal(mine, alone[i]) for i, mine in enumerate(drawn(added)[1:3]))


def test_steps_can_be_asked_for_in_any_order_and_again(alone):
    (backward,) = drawn([MEMBERS[0]], LOOKS[::-1])
    size = len(PARTS)
    forward = [backward[size * i : size * (i + 1)] for i in reversed(range(len(LOOKS)))]
    assert equal([t for step in forward for t in step], alone[0])


def test_no_step_repeats_another():
    draws = OneLayer.job([CONDITIONS[0]], [0], "cpu").draws
    seen = {draws(step).noise_EBL.numpy().tobytes() for step in range(3 * BLOCK)}
    assert len(seen) == 3 * BLOCK


def test_prompts_depend_on_the_data_constants_and_the_seed_only(alone):
    for same in ({"lr": 3.0}, {"m": 16}, {"steps": 7}, {"delta": 0.4, "xi": 0.2}, {"d_Y": 5}):
        assert equal(drawn([(CONDITIONS[0].replace(same), 0)])[0], alone[0])
    changed = {"alpha": 0.7}, {"beta": 1.9}, {"kappa": 0.4}, {"tasks": "all"}, {"sampler": "exact"}
    for other in changed:
        assert not equal(drawn([(CONDITIONS[0].replace(other), 0)])[0], alone[0])
    assert not equal(drawn([(CONDITIONS[0], 1)])[0], alone[0])


def test_two_networks_compared_under_one_seed_see_the_same_prompts():
    deep = SmallGPT(B=5, l_tr=8)
    shallow = OneLayer().replace(deep.axes("data"))
    assert equal(drawn([(shallow, 4)])[0], drawn([(deep, 4)])[0])


# Streams


def test_a_stream_is_pinned():
    """The numbers of two streams under the generator's name: with other numbers, stored cells lose their meaning."""
    assert GENERATOR == "numpy-sfc64"
    four = stream("prompts", {"alpha": 0.8, "M1": 6}, 3).integers(0, 10**6, 4)
    assert four.tolist() == [429615, 712911, 50368, 261679]
    assert stream("weights").random(2).tolist() == [0.02046468563266124, 0.618839473648635]


axes = st.text(max_size=5) | st.integers(-(10**6), 10**6) | st.floats(allow_nan=False, allow_infinity=False)
axes |= st.dictionaries(st.text(max_size=3), st.integers() | st.booleans() | st.text(max_size=3), max_size=3)


@settings(deadline=None)
@given(st.lists(axes, max_size=4), st.lists(axes, max_size=4))
def test_streams_of_different_axes_are_different_and_of_equal_axes_equal(one, other):
    assert stream(*one).integers(2**63) == stream(*one).integers(2**63)
    if repr(one) != repr(other) and one != other:
        assert stream(*one).integers(2**63) != stream(*other).integers(2**63)


def test_the_order_of_a_mappings_keys_is_no_axis_but_the_order_of_axes_is():
    first = stream({"a": 1, "b": 2}, "x").random()
    assert stream({"b": 2, "a": 1}, "x").random() == first
    assert stream("x", {"a": 1, "b": 2}).random() != first
    # Neighbouring axes do not run together.
    assert stream("ab", "c").random() != stream("a", "bc").random()
    assert stream(1, 23).random() != stream(12, 3).random()


@pytest.mark.parametrize("vary", ["seed", "block", "alpha"])
def test_streams_of_neighbouring_axes_look_independent(vary):
    def one(i):
        config = OneLayer(alpha=0.5 + i / 4000 if vary == "alpha" else 0.8)
        seed, block = (i if vary == "seed" else 0), (i if vary == "block" else 0)
        return stream("icl.prompts", config.axes("data"), seed, block).random(64)

    u = np.array([one(i) for i in range(400)])
    for column in (u[:, 0], u[:, 1], u[:, 63], u.ravel()):
        assert kstest(column, "uniform").pvalue > 1e-4
    # Correlations of neighbours, of streams and of numbers: each is about N(0, 1/n).
    centred = (u - 0.5) * 12**0.5
    for products in (centred[1:] * centred[:-1], centred[:, 1:] * centred[:, :-1], centred[2:] * centred[:-2]):
        assert abs(products.mean()) < 4 / products.size**0.5
    largest = np.abs(np.corrcoef(u) - np.eye(400)).max()
    assert largest < 6 / 64**0.5


# Blocks


@settings(deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=20))
def test_blocks_give_each_step_its_own_draws_in_whatever_order(steps):
    drawn_blocks = []

    def draw(b):
        drawn_blocks.append(b)
        return [10 * b + i for i in range(BLOCK)]

    blocks = Blocks(draw)
    assert not drawn_blocks
    for step in steps:
        assert blocks(step) == 10 * (step // BLOCK) + step % BLOCK
    changes = [s // BLOCK for s in steps]
    assert drawn_blocks == [b for i, b in enumerate(changes) if i == 0 or b != changes[i - 1]]


def test_blocks_may_use_the_same_memory_again():
    memory = np.zeros(BLOCK)

    def draw(b):
        memory[:] = np.arange(BLOCK) + 100 * b
        return list(np.split(memory, BLOCK))

    blocks = Blocks(draw)
    assert [blocks(s).item() for s in (0, BLOCK, BLOCK - 1)] == [0.0, 100.0, BLOCK - 1.0]

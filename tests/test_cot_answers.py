"""Answers to test prompts against the textbook's, prompt by prompt, and perfect attention against the oracle."""

from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
import pytest
import textbook_cot
import torch
from scipy.stats import binomtest, norm

from lemmata.cot.answers import ErrorCurve, Reader, answers, errors
from lemmata.cot.network import OneLayer
from lemmata.cot.testing import TestPrompts, TestSet, slices
from lemmata.cot.theory import cot_oracle, icl_error, icl_oracle, transitions
from lemmata.lab.errors import ConstantError, InputError

LENGTHS = (0, 1, 4, 12)
# Leads that rounding could turn are no answers; with few examples and no noise most leads are ties.
LEAST_LEAD = {torch.float64: textbook_cot.TIE, torch.float32: 1e-4}


@contextmanager
def precision(dtype):
    """New tensors are of this type, as are those that answers are read off with."""
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(torch.float32)


@cache
def network(K, train_value):
    """A network half way through training, so that attention is neither uniform nor perfect."""
    config = OneLayer(
        M=8, d_X=19, K=K, B=32, steps=100, lr=2.0 if K > 1 else 0.5, l_tr=12, train_value=train_value, delta=0.4
    )
    return config, {name: p[0] for name, p in config.train([3]).params.items()}


def cast(prompts, dtype):
    parts = prompts.vector_BLSD, prompts.query_BD, prompts.pattern_XD
    vector_BLSD, query_BD, pattern_XD = (t.to(dtype) for t in parts)
    return TestPrompts(vector_BLSD, query_BD, prompts.path_BS, pattern_XD)


def by_hand(net, prompts, b, l, steps):
    """The textbook's answers to the first l examples of one prompt, with the smallest lead among them."""
    vector_LSD, query_D, pattern_XD = (
        t.double() for t in (prompts.vector_BLSD[b, :l], prompts.query_BD[b], prompts.pattern_XD)
    )
    if steps:
        found = textbook_cot.step_by_step(net, vector_LSD, query_D, pattern_XD)
    else:
        found = [textbook_cot.at_once(net, vector_LSD, query_D, pattern_XD)]
    return [answer for answer, _ in found], min(lead for _, lead in found)


def agreeing(test, config, params, *, steps, dtype, prompts=24):
    """How many prompts were compared, of which all must agree."""
    numbers = next(iter(slices(config, 1, prompts=prompts, l=max(LENGTHS), states=test.states)))
    drawn = cast(test.prompts(numbers, test.patterns(config, 1)), dtype)
    reader = Reader.of(config, {name: p.to(dtype) for name, p in params.items()})
    with precision(dtype):
        answer_BNK = answers(reader, drawn, LENGTHS, steps=steps)
    assert answer_BNK.shape == (prompts, len(LENGTHS), config.K if steps else 1)
    delta = float(torch.tensor(config.delta))
    net = textbook_cot.member({n: p[None] for n, p in params.items()}, 0, d_X=config.d_X, delta=delta)
    compared = 0
    for b, (n, l) in product(range(prompts), enumerate(LENGTHS)):
        expected, lead = by_hand(net, drawn, b, l, steps)
        # Without an example the first answer is a tie of all, which goes to the first state.
        if lead > LEAST_LEAD[dtype] or l == 0:
            assert answer_BNK[b, n].tolist() == expected, (b, l)
            compared += 1
    return compared


# Against the textbook

TESTS = {
    "as published": TestSet(states=6, tau=0.6, rho=0.7),
    "wrong everywhere": TestSet(states=6, tau=0.3, rho=0.72, split="even", alpha=0.4, noise=0.1),
    "outside": TestSet(states=6, tau=0.6, rho=0.7, span=0.5, noise=0.4),
    "only outside": TestSet(states=6, tau=0.6, rho=0.7, span=0.0, noise=0.1, split="last"),
    "correlated": TestSet(states=6, tau=0.6, rho=0.7, span=0.8, c_ts=0.5, noise=0.8, noise_law="norm"),
    "training patterns": TestSet(states=0, tau=0.6, rho=0.7, noise=0.3),
    "no noise": TestSet(states=6, tau=0.6, rho=0.7, noise=0.0),
}


@pytest.mark.parametrize("train_value", [False, True])
@pytest.mark.parametrize("steps", [True, False])
@pytest.mark.parametrize("name", TESTS)
def test_answers_are_the_textbooks_to_every_prompt_of_every_length(name, steps, train_value):
    config, params = network(3, train_value)
    compared = agreeing(TESTS[name], config, params, steps=steps, dtype=torch.float64)
    assert compared >= (24 * 4 if name != "no noise" else 24 * 2)


@pytest.mark.parametrize("steps", [True, False])
@pytest.mark.parametrize("K", [1, 2, 5])
def test_answers_are_the_textbooks_for_any_number_of_steps(K, steps):
    config, params = network(K, True)
    assert agreeing(TESTS["as published"], config, params, steps=steps, dtype=torch.float64) == 96


@pytest.mark.parametrize("steps", [True, False])
def test_answers_are_the_textbooks_whatever_the_weights_are(steps):
    rng, (config, params) = np.random.default_rng(0), network(3, True)
    # The zero columns and the query's own have large and small scores here, and values of their own.
    drawn = {n: torch.from_numpy(rng.standard_normal(p.shape)) for n, p in params.items()}
    assert agreeing(TESTS["outside"], config, drawn, steps=steps, dtype=torch.float64) == 96


@pytest.mark.parametrize("train_value", [False, True])
@pytest.mark.parametrize("steps", [True, False])
def test_in_float32_the_decisions_are_the_same(steps, train_value):
    config, params = network(3, train_value)
    for name in ("as published", "outside", "correlated"):
        assert agreeing(TESTS[name], config, params, steps=steps, dtype=torch.float32, prompts=40) > 155


@pytest.mark.parametrize("steps", [True, False])
def test_a_shorter_prompt_is_the_beginning_of_a_longer_one(steps):
    config, params = network(3, False)
    test = TESTS["as published"]
    numbers = next(iter(slices(config, 0, prompts=64, l=20, states=6)))
    drawn, reader = test.prompts(numbers, test.patterns(config, 0)), Reader.of(config, params)
    whole = answers(reader, drawn, (0, 3, 7, 20), steps=steps)
    for n, l in enumerate((3, 7), start=1):
        short = replace(drawn, vector_BLSD=drawn.vector_BLSD[:, :l].contiguous())
        assert (answers(reader, short, (l,), steps=steps)[:, 0] == whole[:, n]).all()
    assert (whole[:, 1] != whole[:, 3]).any()


# Errors


def test_without_examples_answers_are_guesses():
    config = OneLayer(steps=0)
    for states, steps in ((10, True), (10, False), (4, True)):
        test = TestSet(states=states, tau=0.6, rho=0.55)
        numbers = next(iter(slices(config, 0, prompts=64, l=1, states=states)))
        drawn = test.prompts(numbers, test.patterns(config, 0))
        reader = Reader.of(config, {name: p[0] for name, p in config.train().params.items()})
        assert not answers(reader, drawn, (0,), steps=steps).any()
        (error_N,) = errors(config.train(), [test], (0, 1), prompts=4096, steps=steps)[0]
        n = 4096 * (config.K if steps else 1)
        assert abs(float(error_N[0]) - (1 - 1 / states)) < norm.isf(5e-4) * ((states - 1) / states**2 / n) ** 0.5


@pytest.mark.parametrize("steps", [True, False])
def test_an_error_is_the_share_of_wrong_answers_and_a_row_says_of_what(steps):
    config = OneLayer(M=8, d_X=19, B=32, steps=40, lr=1.0)
    net = config.train([2, 5])
    curve = ErrorCurve(
        steps_shown=steps, lengths=(0, 2, 9), prompts=150, states=6, alpha_test=(0.5, 0.9), tau=(0.6,), span=(1.0, 0.6)
    )
    assert curve.steps(config) == (40,)
    rows = curve.observe(net, {})
    assert [len(member) for member in rows] == [12, 12]
    for e, seed in enumerate((2, 5)):
        found = {(int(row.x), float(row.at["alpha_test"]), float(row.at["span"])): row for row in rows[e]}
        assert len(found) == 12
        for (l, alpha, span), row in found.items():
            test = TestSet(states=6, tau=0.6, span=span, alpha=alpha)
            others = {"tau": 0.6, "rho": 0.8, "split": "one", "noise": 0.2, "noise_law": "coordinate", "c_ts": 0.0}
            assert row.metric == ("cot_error" if steps else "icl_error")
            assert row.at == {"alpha_test": alpha, "span": span} | others
            wrong = []
            for numbers in slices(config, seed, prompts=150, l=9, states=6):
                drawn = test.prompts(numbers, test.patterns(config, seed))
                reader = Reader.of(config, {name: p[e] for name, p in net.params.items()})
                right_BK = drawn.path_BS[:, 1:] if steps else drawn.path_BS[:, -1:]
                wrong += (answers(reader, drawn, (l, 9), steps=steps)[:, 0] != right_BK).tolist()
            assert len(wrong) == 150 and row.value == pytest.approx(np.mean(wrong), abs=1e-12)
    assert len({row.value for row in rows[0]}) > 6


def test_a_curve_has_a_test_set_for_every_combination_of_its_sweeps():
    curve = ErrorCurve(
        tau=(0.4, 0.5), span=(0.5, 1.0), noise_law=("norm",), c_ts=(0.1,), noise=(0.3,), rho=(0.7,), states=8
    )
    assert set(curve.tests()) == {
        TestSet(tau=tau, span=span, noise_law="norm", c_ts=0.1, noise=0.3, states=8, rho=0.7)
        for tau in (0.4, 0.5)
        for span in (0.5, 1.0)
    }
    curve.validate(OneLayer())
    with pytest.raises(ConstantError, match="room for 8"):
        curve.validate(OneLayer(M=20, d_X=27))
    with pytest.raises(InputError, match="rho in"):
        replace(curve, rho=(0.7, 0.99)).validate(OneLayer())
    with pytest.raises(ConstantError, match="did you mean even"):
        errors(OneLayer(steps=0).train(), [TestSet(split="evne")], (1,), prompts=4)
    # Twice the test sets, prompts or examples are twice the work; steps cost their candidates.
    for twice in ({"prompts": 2048}, {"lengths": (200,)}, {"alpha_test": (0.4, 0.8)}):
        assert replace(curve, **twice).work(OneLayer()) == pytest.approx(2 * curve.work(OneLayer()))
    assert replace(curve, steps_shown=False).work(OneLayer()) < curve.work(OneLayer()) / 2


# Perfect attention against the oracle


def perfect(config, gap=40.0):  # exp(-2 gap) is far from the smallest number, and votes are far from exp(-gap)
    """A reader that attends to columns of its step, and among them of its state alone, if there are any."""
    M, K = config.M, config.K
    key_QG = torch.zeros(M + K, 2 * M + K)
    key_QG[:M, :M] = gap * torch.eye(M)
    key_QG[M:, 2 * M :] = gap * torch.eye(K)
    return Reader(key_QG, None, 0.0)


def missed(test, config, lengths, *, steps, prompts=6000):
    """The errors of perfect attention on every prompt, error_BN; states are axes, so that equal votes are ties."""
    axis_XD, found = np.eye(test.states, config.d_X), []
    with precision(torch.float64):
        reader = perfect(config)
        for numbers in slices(config, 11, prompts=prompts, l=max(lengths), states=test.states):
            drawn = cast(test.prompts(numbers, axis_XD), torch.float64)
            right_BK = drawn.path_BS[:, 1:] if steps else drawn.path_BS[:, -1:]
            found.append((answers(reader, drawn, lengths, steps=steps) != right_BK[:, None]).double().mean(-1))
    return torch.cat(found).numpy()


def assert_within(error_B, expected, trials=0):
    """The mean is as expected, in 999 of 1000 cases; what is expected may itself be a mean of so many trials."""
    variance = error_B.var() / len(error_B)
    spread = (variance + (variance * len(error_B) / trials if trials else 0)) ** 0.5
    assert 0 < spread < 0.011
    assert abs(error_B.mean() - expected) < norm.isf(5e-4) * spread


@pytest.mark.parametrize("alpha", [0.4, 0.8])
@pytest.mark.parametrize("split", ["one", "even"])
def test_with_perfect_attention_the_chain_errs_as_the_oracle_says(split, alpha):
    config, lengths = OneLayer(M=10, d_X=10), (1, 5, 20)
    rho = 0.6 if split == "one" else 0.8
    error_BN = missed(TestSet(alpha=alpha, tau=0.5, rho=rho, split=split, noise=0.0), config, lengths, steps=True)
    for n, l in enumerate(lengths):
        oracle = cot_oracle(l, alpha, 0.5, rho, split=split, trials=40_000)
        assert_within(error_BN[:, n], oracle.value, trials=oracle.n)


@pytest.mark.parametrize("alpha", [0.4, 0.8])
@pytest.mark.parametrize("split", ["one", "last"])
def test_with_perfect_attention_outcomes_err_as_the_oracle_says(split, alpha):
    config, lengths = OneLayer(M=10, d_X=10), (1, 5, 20)
    error_BN = missed(TestSet(alpha=alpha, tau=0.5, rho=0.6, split=split, noise=0.0), config, lengths, steps=False)
    for n, l in enumerate(lengths):
        assert_within(error_BN[:, n], icl_oracle(l, alpha, 0.5, 0.6))


@pytest.mark.parametrize("alpha", [0.4, 0.8])
def test_with_perfect_attention_and_two_steps_wrong_outcomes_err_as_the_product_says(alpha):
    config, lengths = OneLayer(M=4, d_X=4, K=2), (1, 5, 20)
    test = TestSet(alpha=alpha, tau=0.6, rho=0.75, split="even", noise=0.0, states=4)
    error_BN = missed(test, config, lengths, steps=False)
    # The mean over the orders of the wrong states in both steps, and over the right maps between them.
    expected_N, p = np.zeros(3), 0.6**0.5
    rng, prompts = np.random.default_rng(0), 400
    row = [p, *(pieces := [p * 0.25] * int((1 - p) / p / 0.25)), 1 - p - sum(pieces)]
    row += [0.0] * (4 - len(row))
    for _ in range(prompts):
        steps = []
        for _ in range(2):
            offsets = [0, *(1 + rng.permutation(3))]
            A_XX, right = np.zeros((4, 4)), rng.permutation(4)
            for i in range(4):
                A_XX[i, (right[i] + np.array(offsets)) % 4] = row
            steps.append(A_XX)
        t = transitions(steps)
        expected_N += [icl_error(l, alpha, t.product, t.path[:, -1]) / prompts for l in lengths]
    for n in range(3):
        assert_within(error_BN[:, n], expected_N[n], trials=prompts * 10)


def test_a_single_example_is_followed_whatever_it_shows():
    # Every step is answered by the example's own, so all answers are right if it started and went right.
    config = OneLayer(M=10, d_X=10)
    test = TestSet(alpha=0.8, tau=0.5, rho=0.6, split="last", noise=0.0)
    right_B = np.rint(3 * (1 - missed(test, config, (1,), steps=True)[:, 0]))
    for right, share in ((3, 0.8 * 0.5), (2, 0.8 * 0.5), (1, 0.2 * 0.5 / 9)):
        assert binomtest(int((right_B == right).sum()), 6000, share).pvalue > 1e-3


@pytest.mark.parametrize("steps", [True, False])
def test_scores_may_be_larger_than_what_float32_can_exponentiate(steps):
    config, exact = OneLayer(M=10, d_X=10), TestSet(alpha=1.0, tau=1.0, rho=0.5, noise=0.0)
    numbers = next(iter(slices(config, 0, prompts=64, l=6, states=10)))
    drawn = exact.prompts(numbers, np.eye(10, dtype=np.float32))
    right_BK = drawn.path_BS[:, 1:] if steps else drawn.path_BS[:, -1:]
    assert (answers(perfect(config, gap=80.0), drawn, (1, 6), steps=steps) == right_BK[:, None]).all()


@pytest.mark.parametrize(
    ("tests", "lengths", "word"),
    [
        ([TestSet()], [40, 10], "rise"),
        ([TestSet()], [-1, 10], "rise"),
        ([TestSet()], [], "rise"),
        ([], [10], "0 numbers of states"),
        ([TestSet(), TestSet(states=8)], [10], "2 numbers of states"),
    ],
)
def test_errors_refuses_what_it_cannot_answer(tests, lengths, word):
    net = OneLayer(steps=0).train([0])
    with pytest.raises(InputError, match=word):
        errors(net, tests, lengths, prompts=10)


def test_no_examples_at_all_are_a_length_as_well():
    net = OneLayer(steps=0).train([0])
    assert errors(net, [TestSet()], [0], prompts=200).item() > 0.8

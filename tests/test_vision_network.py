"""The vision network against its textbook form, its draws, and what a member may depend on."""

import math
from typing import Any

import numpy as np
import pytest
import textbook_vision
import torch

from lemmata.lab.ensemble import fit
from lemmata.lab.errors import ConstantError
from lemmata.lab.losses import hinges
from lemmata.vision.data import Shares, Tokens, moved, picked, split, stacked
from lemmata.vision.network import OneLayer, attention, forward
from lemmata.vision.probes import mass, new_samples

SMALL = OneLayer(
    L=10, M=6, mixing=2, alpha_s=0.4, ratio=0.25, N=7, B=4, m=6, steps=6, lr=0.5, mult=3.0, xi=0.4, w0=0.7, delta=0.3
)
KINDS = {
    "shares": SMALL,
    "uniform attention": SMALL.replace({"attention": "uniform"}),
    "tokens": SMALL.replace({"tokens": True}),
    "noise": SMALL.replace({"tokens": True, "tau": 0.3}),
    "thinned": SMALL.replace({"tokens": True, "noisy": 3, "removed": 2, "policy": "noisy"}),
}
kinds = pytest.mark.parametrize("name", KINDS)


def drawn(config, name, seed, count) -> Any:
    """Samples of one member, as shares or as tokens."""
    return config.samples(name, seed, count)


def fresh(net, count) -> Any:
    """New samples of all members."""
    return new_samples(net, count)


def doubled(params):
    return {name: p.double() for name, p in params.items()}


def in_float64(samples):
    """The same samples; shares are counts over L to the last digit."""
    if isinstance(samples, Shares):
        share_EBT = (samples.share_EBT.double() * SMALL.L).round() / SMALL.L
        return Shares(samples.pattern_EBT, share_EBT, samples.label_EB.double())
    return Tokens(samples.token_EBLd.double(), samples.pattern_EBL, samples.label_EB.double())


def padded(net, size):
    """The textbook's weights on so many coordinates, those that the samples do not have being 0."""
    d = net.W_V.shape[1]
    grown = {}
    for name in ("W_Q", "W_K", "W_V"):
        wide = torch.zeros(size, size, dtype=torch.float64)
        wide[:d, :d] = getattr(net, name)
        grown[name] = wide
    W_O = torch.zeros(len(net.W_O), size, dtype=torch.float64)
    W_O[:, :d] = net.W_O
    return textbook_vision.Network(**grown, W_O=W_O, a=net.a)


@kinds
def test_outputs_and_attention_are_the_textbooks(name):
    config = KINDS[name]
    net = config.train([3, 8])
    samples = in_float64(fresh(net, 5))
    output_EB = forward(doubled(net.params), samples)
    for e in range(2):
        own = textbook_vision.Network.of(net.params, e)
        for b, (tokens, _) in enumerate(textbook_vision.written_out(samples, e, config.L)):
            one = padded(own, tokens.shape[1])
            assert float(output_EB[e, b]) == pytest.approx(float(textbook_vision.output(one, tokens)), abs=1e-9)
    attn = attention(doubled(net.params), samples)
    assert torch.allclose(attn.sum(-1), torch.ones((), dtype=torch.float64))


@kinds
def test_training_is_the_textbooks(name):
    """In float64 and from draws of the job itself, over all steps."""
    config = KINDS[name]
    job = OneLayer.job([config, config], [3, 8], "cpu")
    start = doubled(job.params())
    batches = [in_float64(job.draws(step)) for step in range(config.steps)]
    params, rate = dict(start), config.phases()[0].rates
    for batch in batches:
        leaves = {n: p.clone().requires_grad_() for n, p in params.items()}
        grads = torch.autograd.grad(hinges(OneLayer.gap(leaves, batch)).sum(), list(leaves.values()))
        lr = float(job.lr_E[0])
        params = {n: (p - lr * rate.get(n, 1.0) * g).detach() for (n, p), g in zip(leaves.items(), grads, strict=True)}
    ours = fit([config, config], [3, 8]).params
    for e in range(2):
        written = [textbook_vision.written_out(batch, e, config.L) for batch in batches]
        size = written[0][0][0].shape[1]
        mult = 0.0 if config.attention == "uniform" else config.mult
        after = textbook_vision.trained(padded(textbook_vision.Network.of(start, e), size), written, 0.5, mult)
        d = config.M
        for n in ("W_Q", "W_K", "W_V", "W_O"):
            expected = getattr(after, n)[:, :d] if n == "W_O" else getattr(after, n)[:d, :d]
            assert (params[n][e] - expected).abs().max() < 1e-9, n
            assert (ours[n][e].double() - expected).abs().max() < 1e-4, n
    assert (ours["a"] == start["a"]).all()


def test_shares_and_their_tokens_are_one_network():
    """The same samples, reduced and written out."""
    net = SMALL.train([0, 1])
    shares = fresh(net, 6)
    tokens = [torch.stack([x for x, _ in textbook_vision.written_out(shares, e, SMALL.L)]) for e in range(2)]
    token_EBLd = torch.stack(tokens)[..., : SMALL.M]
    written = Tokens(token_EBLd, token_EBLd.argmax(-1), shares.label_EB)
    assert torch.allclose(forward(doubled(net.params), in_float64(shares)), forward(doubled(net.params), written))
    assert torch.allclose(
        mass(net, shares), mass(net, Tokens(token_EBLd.float(), written.pattern_EBL, shares.label_EB))
    )


def test_uniform_attention_stays_uniform():
    net = KINDS["uniform attention"].train([0])
    samples = fresh(net, 4)
    assert torch.equal(net.params["W_Q"], torch.zeros_like(net.params["W_Q"]))
    attn = attention(net.params, samples)
    assert torch.allclose(attn, samples.share_EBT.unsqueeze(2).expand_as(attn))


def test_both_kinds_of_attention_start_and_learn_from_the_same():
    trained, uniform = SMALL, KINDS["uniform attention"]
    for name in ("W_V", "W_O", "a"):
        assert torch.equal(trained.weights(5)[name], uniform.weights(5)[name])
    one, other = (OneLayer.job([c], [5], "cpu") for c in (trained, uniform))
    for step in (0, 3, 9):
        assert all(map(torch.equal, vars(one.draws(step)).values(), vars(other.draws(step)).values()))


@kinds
def test_members_are_the_same_in_any_company(name):
    configs = [KINDS[name].replace(change) for change in ({}, {"N": 20}, {"lr": 0.2}, {"xi": 0.1}, {})]
    together = fit(configs, range(5)).params
    for e, config in enumerate(configs):
        alone = fit([config], [e]).params
        for n, p in alone.items():
            assert torch.equal(together[n][e], p[0]), n


def test_training_sees_its_own_samples_only():
    config = SMALL.replace({"N": 5, "alpha_s": 0.3, "ratio": 0.0})
    job = OneLayer.job([config], [4], "cpu")
    own = drawn(config, "vision.train", 4, 5)
    known = {tuple(row) for row in own.share_EBT[0].tolist()}
    seen = {tuple(row) for step in range(30) for row in job.draws(step).share_EBT[0].tolist()}
    assert seen == known
    assert {tuple(row) for row in drawn(config, "vision.test", 4, 50).share_EBT[0].tolist()} - known


def test_new_samples_are_a_function_of_their_constants_and_seed():
    base = drawn(SMALL, "x", 0, 9)
    same = drawn(SMALL.replace({"lr": 0.1, "m": 12, "mult": 1.0}), "x", 0, 9)
    assert all(map(torch.equal, vars(base).values(), vars(same).values()))
    others = (drawn(SMALL, "x", 1, 9), drawn(SMALL, "y", 0, 9), drawn(SMALL.replace({"N": 8}), "x", 0, 9))
    for other in others:
        assert not torch.equal(other.share_EBT, base.share_EBT)


def test_thinning_leaves_the_same_samples():
    whole = KINDS["thinned"].replace({"removed": 0})
    full = drawn(whole, "x", 0, 8)
    for policy in ("random", "irrelevant", "noisy"):
        few = drawn(whole.replace({"removed": 2, "policy": policy}), "x", 0, 8)
        assert torch.equal(few.label_EB, full.label_EB) and few.token_EBLd.shape[2] == SMALL.L - 2
        for b in range(8):
            kept = {tuple(x) for x in few.token_EBLd[0, b].tolist()}
            gone = [l for l, x in enumerate(full.token_EBLd[0, b].tolist()) if tuple(x) not in kept]
            if policy == "irrelevant":
                assert (full.pattern_EBL[0, b, gone] >= 2).all()
            if policy == "noisy":
                exact = (full.token_EBLd[0, b] == torch.eye(SMALL.M)[full.pattern_EBL[0, b]]).all(-1)
                assert len(gone) == 2 and not exact[gone].any()


def test_the_first_weights_are_what_they_are_said_to_be():
    config = OneLayer(m=200, M=40, mixing=4, delta=0.2, sigma=0.0, xi=0.05, w0=0.5)
    p = config.weights(0)
    assert torch.allclose(p["W_V"] @ p["W_V"].T, torch.eye(40), atol=1e-5)
    for name in ("W_Q", "W_K"):
        error = p[name] - 0.5 * torch.eye(40)
        assert float(error.std()) == pytest.approx(0.2 / math.sqrt(40), rel=0.1)
    assert not torch.equal(p["W_Q"], p["W_K"]) and float(p["W_O"].std()) == pytest.approx(0.05, rel=0.05)
    assert p["a"].sign().sum() == 0 and torch.allclose(p["a"].abs(), torch.tensor(200.0).rsqrt())
    moved_start = OneLayer(m=200, M=40, mixing=4, delta=0.2, sigma=0.3).weights(0)["W_V"] - p["W_V"]
    assert float(moved_start.std()) == pytest.approx(0.3 / math.sqrt(40), rel=0.1)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"mixing": 5}, "irrelevant patterns"),
        ({"alpha_s": 0.9, "ratio": 0.5}, "more relevant tokens"),
        ({"ratio": 1.0}, "more relevant tokens"),
        ({"alpha_s": 0.0}, "more relevant tokens"),
        ({"tau": 0.1}, "tokens = true"),
        ({"removed": 1}, "tokens = true"),
        ({"tokens": True, "removed": 6, "policy": "irrelevant"}, "at most 5 tokens"),
        ({"tokens": True, "removed": 1, "policy": "noisy"}, "at most 0 tokens"),
        ({"tokens": True, "noisy": 11}, "noisy"),
        ({"attention": "none"}, "attention"),
    ],
)
def test_impossible_constants_are_refused(wrong, words):
    with pytest.raises(ConstantError, match=words):
        SMALL.replace(wrong)


def test_parts_of_samples_share_what_they_should():
    one, other = (drawn(SMALL, "x", seed, 5) for seed in (0, 1))
    both: Any = stacked([one, other])
    assert isinstance(both, Shares) and both.share_EBT.shape == (2, 5, 4)
    assert [part.label_EB.shape[1] for part in split(both, 2)] == [2, 2, 1]
    at_EB = torch.tensor([[4, 0, 0], [1, 2, 3]])
    assert torch.equal(picked(both, at_EB).label_EB, both.label_EB.gather(1, at_EB))
    assert torch.equal(moved(both, "cpu").label_EB, both.label_EB)


def test_work_counts_the_products():
    """A sample kept token by token costs what its queries, scores and neurons do."""
    assert OneLayer(tokens=True, L=100).work() > 5 * OneLayer(L=100).work()
    assert OneLayer(steps=800).work() == pytest.approx(2 * OneLayer(steps=400).work())
    assert np.isfinite(OneLayer(steps=0).work())

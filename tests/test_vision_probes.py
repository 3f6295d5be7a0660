"""What is measured of vision networks, against the textbook and by hand."""

import math
from typing import Any

import numpy as np
import pytest
import textbook_vision
import torch

from lemmata.lab.ensemble import fit
from lemmata.lab.grid import Cell, measure
from lemmata.lab.losses import error, hinge
from lemmata.vision.data import draw_counts, thinned, tokens_of
from lemmata.vision.network import OneLayer, forward
from lemmata.vision.probes import Generalized, Loss, Mass, Passage, mass, new_samples, outputs

SMALL = OneLayer(
    L=10, M=6, mixing=2, alpha_s=0.4, ratio=0.25, N=7, B=4, m=6, steps=6, lr=0.5, mult=3.0, xi=0.4, w0=0.7, delta=0.3
)
MEASURES = (Generalized(samples=20), Loss(samples=20), Mass(samples=20), Passage(samples=20))


def table(rows):
    """Rows as a mapping; no two rows share a place."""
    found = {(row.metric, row.x): row.value for row in rows}
    assert len(found) == len(rows)
    return found


# Samples


def test_samples_have_the_tokens_they_should():
    rng = np.random.default_rng(0)
    pattern_BT, count_BT, label_B = draw_counts(rng, 400, L=20, M=7, mixing=3, right=6, wrong=2)
    assert (label_B == 1).sum() == 200 and (count_BT.sum(1) == 20).all()
    assert (count_BT[:, 0] == 6).all() and (count_BT[:, 1] == 2).all() and (count_BT >= 0).all()
    assert (pattern_BT[:, 0] == (label_B < 0)).all() and (pattern_BT[:, 1] == (label_B > 0)).all()
    for row in pattern_BT[:, 2:]:
        assert len(set(row)) == 3 and min(row) >= 2 and max(row) <= 6
    often = np.bincount(pattern_BT[:, 2:].ravel(), minlength=7)[2:]
    assert (abs(often - 240) < 60).all(), "every irrelevant pattern is drawn as often"
    assert count_BT[:, 2:].mean(0) == pytest.approx([4, 4, 4], abs=0.4)


def test_tokens_are_their_patterns_with_their_own_noise():
    rng = np.random.default_rng(1)
    pattern_BT, count_BT, _ = draw_counts(rng, 300, L=12, M=5, mixing=2, right=4, wrong=1)
    tau_BL = np.where(np.arange(12) < 6, 0.5, 0.0)[None].repeat(300, 0)
    token_BLd, pattern_BL = tokens_of(rng, pattern_BT, count_BT, d=5, tau_BL=tau_BL)
    for b in range(300):
        assert sorted(pattern_BL[b]) == sorted(np.repeat(pattern_BT[b], count_BT[b]))
    noise_BLd = token_BLd - np.eye(5)[pattern_BL]
    assert (noise_BLd[:, 6:] == 0).all() and noise_BLd[:, :6].std() == pytest.approx(0.5, rel=0.02)
    assert len({tuple(row) for row in pattern_BL.tolist()}) > 250, "the order is random"


@pytest.mark.parametrize("policy", ["random", "irrelevant", "noisy"])
def test_what_is_removed_is_of_its_kind_and_otherwise_random(policy):
    pattern_BL = np.tile([0, 0, 1, 2, 3, 4, 2, 0], (4000, 1))
    tau_BL = np.tile([0.5, 0, 0.5, 0, 0.5, 0, 0, 0], (4000, 1))
    kept_BL = thinned(np.random.default_rng(0), pattern_BL, tau_BL > 0, removed=2, policy=policy)
    assert kept_BL.shape == (4000, 6) and (np.diff(kept_BL, axis=1) > 0).all()
    kind = {"random": range(8), "irrelevant": (3, 4, 5, 6), "noisy": (0, 2, 4)}[policy]
    stays = np.bincount(kept_BL.ravel(), minlength=8) / 4000
    expected = [1 - 2 / len(kind) if l in kind else 1.0 for l in range(8)]
    assert stays == pytest.approx(expected, abs=0.03)


# Attention and losses


@pytest.mark.parametrize("changes", [{}, {"tokens": True, "tau": 0.2}])
def test_mass_is_the_textbooks_attention_on_relevant_tokens(changes):
    config = SMALL.replace(changes)
    net = config.train([3, 8])
    samples: Any = new_samples(net, 4)
    found_E = mass(net, samples)
    for e in range(2):

        def relevant(b, e=e):
            if config.tokens:
                own = int(samples.label_EB[e, b] < 0)
                return (samples.pattern_EBL[e, b] == own).nonzero().flatten()
            return torch.arange(round(config.alpha_s * config.L))

        own = textbook_vision.Network.of(net.params, e)
        if not config.tokens:
            own = wide(own, textbook_vision.written_out(samples, e, config.L)[0][0].shape[1])
        expected = textbook_vision.relevant_mass(own, samples, e, config.L, relevant)
        assert float(found_E[e]) == pytest.approx(expected, abs=1e-5)


def wide(net, size):
    """The same network on more coordinates, all of them 0."""

    def grown(p, rows):
        found = torch.zeros(rows, size, dtype=torch.float64)
        found[: p.shape[0], : p.shape[1]] = p
        return found

    squares = {name: grown(getattr(net, name), size) for name in ("W_Q", "W_K", "W_V")}
    return textbook_vision.Network(**squares, W_O=grown(net.W_O, len(net.W_O)), a=net.a)


def test_losses_are_those_of_new_samples():
    net = SMALL.train([3, 8])
    samples = new_samples(net, 20)
    output_EB = forward(net.params, samples)
    assert torch.allclose(outputs(net, samples), output_EB, atol=1e-6)
    for e, rows in enumerate(Loss(samples=20).observe(net, {})):
        found = table(rows)
        assert found["hinge", 0] == pytest.approx(float(hinge(output_EB, samples.label_EB)[e]), abs=1e-6)
        assert found["error", 0] == pytest.approx(float(error(output_EB, samples.label_EB)[e]))
        own = SMALL.samples("vision.train", (3, 8)[e], SMALL.N)
        answers_1B = forward({n: p[e : e + 1] for n, p in net.params.items()}, own)
        assert found["train_hinge", 0] == pytest.approx(float(hinge(answers_1B, own.label_EB)), abs=1e-6)
    for e, rows in enumerate(Mass(samples=20).observe(net, {})):
        found = table(rows)
        assert found["mass", 6] == pytest.approx(float(mass(net, samples)[e]))
        assert found["hinge_then", 6] == pytest.approx(float(hinge(output_EB, samples.label_EB)[e]), abs=1e-6)


EASY = OneLayer(L=20, M=5, mixing=1, alpha_s=0.5, N=30, m=20, lr=0.2, mult=10.0, steps=200)


def test_a_member_leaves_when_nothing_moves_it_any_more():
    members = [(EASY.replace({"N": N}), seed) for N in (10, 30) for seed in (0, 1)]
    results, _ = measure([Cell(config, seed, (Generalized(every=10),)) for config, seed in members])
    for result, (config, seed) in zip(results, members, strict=True):
        found = table(result.rows)
        assert found["train_hinge", 0] == 0 and 0 < found["steps", 0] < 200
        # What it would have been in the end.
        whole = fit([config], [seed])
        samples = new_samples(whole, 500)
        assert found["hinge", 0] == float(hinge(outputs(whole, samples), samples.label_EB))
        own = config.samples("vision.train", seed, config.N)
        assert float(hinge(forward(whole.params, own), own.label_EB)) == 0


def test_a_member_that_goes_on_learning_is_measured_after_its_last_step():
    (result,), _ = measure([Cell(EASY.replace({"steps": 15}), 0, (Generalized(every=10),))])
    found = table(result.rows)
    assert found["steps", 0] == 15 and found["train_hinge", 0] > 0 and found["hinge", 0] > 0


def test_the_passage_is_where_the_loss_is_first_below_its_bound():
    (result,), _ = measure([Cell(EASY, 3, (Passage(below=0.3, every=10, samples=100),))])
    found = table(result.rows)
    lo, hi = (int(found[end, 0]) for end in ("steps_lo", "steps_hi"))
    assert hi - lo == 10
    for steps, below in ((lo, False), (hi, True)):
        net = fit([EASY.replace({"steps": steps})], [3])
        samples = new_samples(net, 100)
        assert (float(hinge(outputs(net, samples), samples.label_EB)) < 0.3) == below


@pytest.mark.parametrize("m", MEASURES, ids=lambda m: m.name)
def test_a_diverged_member_disturbs_no_other(m):
    net = SMALL.train([3, 8])
    lost = net.with_params({**net.params, "W_O": net.params["W_O"].clone()})
    lost.params["W_O"][0] = math.nan
    intact, found = (m.observe(which, {}) for which in (net, lost))
    assert table(found[1]) == pytest.approx(table(intact[1]), abs=1e-6)
    for metric, value in ((row.metric, row.value) for row in found[0]):
        if "hinge" in metric:
            assert math.isnan(value)
        if metric == "error":
            assert value == 1

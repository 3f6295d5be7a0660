"""The small GPT-2 against its textbook form, alone and in company, and the probes of its layers.

What it shares with other papers' networks is tested in test_transformer.py.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from textbook_gpt import state, textbook
from torch import Tensor

from lemmata.icl.data import Prompts, stack
from lemmata.icl.gpt import SmallGPT, forward
from lemmata.icl.layers import LabelEmbeddings, LayerAttention, attended_rows, layer_mass, output_effects
from lemmata.icl.testing import TestSet, outputs
from lemmata.lab.ensemble import Params, Snapshot, fit
from lemmata.lab.errors import ConstantError
from lemmata.lab.grid import Cell, measure
from lemmata.lab.losses import error, hinge

SMALL = SmallGPT(width=16, B=8, steps=20)


def double(prompts: Prompts) -> Prompts:
    """The same prompts in float64."""
    return replace(
        prompts,
        noise_EBL=prompts.noise_EBL.double(),
        label_EBL=prompts.label_EBL.double(),
        target_EB=prompts.target_EB.double(),
        beta_E=prompts.beta_E.double(),
        axis_EVD=None if prompts.axis_EVD is None else prompts.axis_EVD.double(),
    )


def shaken(configs: list[SmallGPT]) -> Params:
    """Weights far from their start, so that every gain, shift and bias takes part; float64."""
    rng = torch.Generator().manual_seed(0)
    params = SmallGPT.job(configs, range(len(configs)), "cpu").params()
    return {
        name: p.double() if name == "causal" else p + 0.3 * torch.randn(p.shape, generator=rng, dtype=torch.float64)
        for name, p in params.items()
    }


@pytest.mark.parametrize("S_1", [None, 1.2])
@pytest.mark.parametrize(("positions", "n_layer"), [(True, 3), (False, 3), (True, 1)])
def test_outputs_and_gradients_are_the_textbooks(positions: bool, n_layer: int, S_1: float | None) -> None:
    configs = [SMALL.replace({"positions": positions, "n_layer": n_layer, "causal": c}) for c in (True, False)]
    params = {name: p.requires_grad_(name != "causal") for name, p in shaken(configs).items()}
    prompts = double(stack([TestSet(l=9, alpha=0.8, prompts=7, S_1=S_1).member(c, 0) for c in configs]))
    output_EB = forward(params, prompts)
    hinge(output_EB, prompts.target_EB).sum().backward()
    V = 30 if S_1 is None else 27
    for e in range(2):
        network = textbook(params, e)
        expected_B = network(prompts.columns(V)[e])
        hinge(expected_B, prompts.target_EB[e]).backward()
        gradients = state({name: p if p.grad is None else p.grad for name, p in params.items()}, e)
        assert (output_EB[e] - expected_B).abs().max() < 1e-9
        for name, weight in network.named_parameters():
            assert weight.grad is not None, name
            assert (gradients[name] - weight.grad).abs().max() < 1e-9, name


def test_first_weights_are_gpt2s() -> None:
    params = SmallGPT(steps=0).train([1, 2]).params
    for name, rel in (("W_in", 0.05), ("W_pos", 0.05), ("w_out", 0.15)):
        assert float(params[name].std()) == pytest.approx(0.02, rel=rel), name
    for name in ("W_in", "W_pos", "W_QKV", "W_O", "W_fc", "W_proj", "w_out"):
        assert not torch.equal(params[name][0], params[name][1]), name
    assert bool((params["causal"] == 1).all())


def trained_in_chunks(configs: list[SmallGPT], size: int) -> Params:
    seeds = range(len(configs))
    parts = [fit(configs[i : i + size], seeds[i : i + size]) for i in range(0, len(configs), size)]
    return {name: torch.cat([part.params[name] for part in parts]) for name in parts[0].params}


def test_members_are_the_same_to_the_bit_in_any_company() -> None:
    # Members that differ in what may differ within an ensemble: seed, learning rate, data, causal attention.
    changes = [{"beta": 1.0}, {"causal": False}, {"lr": 3e-3}, {"alpha": 0.5, "kappa": 0.2}, {"tasks": "pairs"}]
    configs = [*(SMALL.replace(change) for change in changes), SMALL, SMALL, SMALL]
    together = trained_in_chunks(configs, 8)
    for size in (1, 2, 3):
        for name, p in trained_in_chunks(configs, size).items():
            assert torch.equal(p, together[name]), (size, name)


def test_training_moves_everything_but_the_mark_and_lowers_the_error() -> None:
    config = SmallGPT(width=32, n_layer=2, B=32, steps=300, lr=1e-3, alpha=1.0, M2=4, M1=3, l_tr=8)
    before, after = config.replace({"steps": 0}).train(), config.train()
    prompts = TestSet(l=8, alpha=1.0, prompts=500).ensemble(after)
    for name, p in after.params.items():
        assert torch.equal(p, before.params[name]) == (name == "causal"), name
    errors = [float(error(outputs(net, prompts), prompts.target_EB)) for net in (before, after)]
    assert errors[0] > 0.4 and errors[1] < 0.2


@pytest.mark.parametrize("l_min", [0, 3])
def test_training_lengths_lie_in_their_range(l_min: int) -> None:
    job = SmallGPT.job([SMALL.replace({"l_min": l_min, "l_tr": 6})], [0], "cpu")
    lengths = {job.draws(step).length for step in range(64)}
    assert lengths == ({6} if l_min == 0 else {3, 4, 5, 6})


def test_lengths_without_learned_positions_are_refused() -> None:
    short = SMALL.replace({"l_tr": 8, "steps": 1})
    net = short.train()
    for l in (0, 8):
        assert outputs(net, TestSet(l=l, alpha=0.8, prompts=3).ensemble(net)).isfinite().all()
    with pytest.raises(ConstantError, match="at most l_tr = 8 examples"):
        outputs(net, TestSet(l=9, alpha=0.8, prompts=3).ensemble(net))
    free = short.replace({"positions": False}).train()
    assert outputs(free, TestSet(l=30, alpha=0.8, prompts=3).ensemble(free)).isfinite().all()


def test_impossible_constants_are_refused() -> None:
    with pytest.raises(ConstantError, match="a width that n_head = 3 divides"):
        SmallGPT(n_head=3)


def counted_work(config: SmallGPT) -> float:
    """Operations of matrix products in the textbook's full form, forward and backward, at the longest length."""
    tokens, D = config.B * (config.l_tr + 1), config.width
    layer = 2 * tokens * 12 * D * D + 4 * tokens * (config.l_tr + 1) * D
    return 3.0 * config.steps * (config.n_layer * layer + 2 * tokens * 31 * D)


def test_work_is_below_that_of_the_full_form() -> None:
    fixed = SmallGPT(l_min=0)
    assert 0.6 < fixed.work() / counted_work(fixed) < 0.7
    assert 0.5 < SmallGPT(l_min=2).work() / fixed.work() < 0.6
    assert SmallGPT(steps=1200).work() / SmallGPT(steps=600).work() == pytest.approx(2)


def rows_of(config: SmallGPT, *measures: LayerAttention | LabelEmbeddings) -> dict[tuple[object, ...], float]:
    (result,), _ = measure([Cell(config, 0, measures)])
    return {(row.metric, row.x, *row.at.values()): row.value for row in result.rows}


def test_attention_is_uniform_at_the_start() -> None:
    config, test = SmallGPT(steps=2), TestSet(l=20, alpha=0.8, prompts=512)
    prompts = test.member(config, 0)
    idr_BL = prompts.idr_EBL[0]
    same_B = (idr_BL[:, :-1] == idr_BL[:, -1:]).sum(-1)
    expected = float(((same_B + 1) / 21).mean())
    found = rows_of(config, LayerAttention(every=1))
    assert list(found) == [("attention_same", x, layer) for x in (0, 1, 2) for layer in (1, 2, 3)]
    for layer in (1, 2, 3):
        assert found["attention_same", 0, layer] == pytest.approx(expected, abs=0.03)
    # Without W_QKV it is uniform exactly.
    net = config.train()
    flat = net.params | {"W_QKV": torch.zeros_like(net.params["W_QKV"])}
    assert layer_mass(flat, prompts)[0].tolist() == pytest.approx([expected] * 3, abs=1e-6)


def attended_change(params: Params, n: int, direction_D: Tensor) -> Tensor:
    """How the inputs of layer n's neurons change with the stream of a token that has all attention: textbook form.

    The standard deviations of both LayerNorms are held at 1.
    """
    block = textbook(params, 0).block(n)

    def centre(t: Tensor) -> Tensor:
        return t - t.mean()

    value_D = (block.c_attn.weight @ (block.ln_1.weight * centre(direction_D)))[-len(direction_D) :]
    added_D = block.c_proj.weight @ value_D
    return (block.c_fc.weight @ (block.ln_2.weight * centre(added_D))).detach()


def test_rows_and_effects_are_what_the_textbook_network_does() -> None:
    params = shaken([SMALL])
    direction_D = torch.randn(16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    row_ENMD, effect_ENM = attended_rows(params), output_effects(params)
    for n in range(3):
        assert (row_ENMD[0, n] @ direction_D - attended_change(params, n, direction_D)).abs().max() < 1e-9
    # A neuron writes W_proj[i] into the stream; through the LayerNorm's centring and gain the read-out sees this much.
    network = textbook(params, 0)
    written_MD = network.block(1).mlp_proj.weight.T
    read_M = ((written_MD - written_MD.mean(-1, keepdim=True)) * network.ln_f.weight) @ network.read_out.weight[0]
    assert (effect_ENM[0, 1] - read_M).abs().max() < 1e-9


def test_label_embeddings_are_grouped_by_layer_and_effect() -> None:
    found = rows_of(SMALL, LabelEmbeddings(every=10))
    assert len(found) == 3 * 3 * 2 * 2 * 3  # looks, layers, effects, metrics, and mean, q10, q90
    for layer in (1, 2, 3):
        for effect in "+-":
            assert found["label_norm", 0, layer, effect, "q10"] < found["label_norm", 0, layer, effect, "q90"]
            # Random rows stand at right angles to any direction, on average.
            assert found["label_angle", 0, layer, effect, "mean"] == pytest.approx(torch.pi / 2, abs=0.3)


def test_a_row_along_the_label_has_angle_zero() -> None:
    net = SMALL.replace({"steps": 0, "n_layer": 1}).train()
    label_D = net.params["W_in"][0, -1]
    centred_D = label_D - label_D.mean()
    # Values and output pass the stream on; neuron i reads the label's direction with the sign of its effect.
    params = {name: p.clone() for name, p in net.params.items()}
    params["W_QKV"][:, :, :, 2] = torch.eye(16).view(16, 2, 8)
    params["W_O"][:] = torch.eye(16)
    sign_M = output_effects(params)[0, 0].sign()
    params["W_fc"][:] = centred_D.unsqueeze(-1) * sign_M
    params["W_in"][:, -1] = centred_D
    snapshot = Snapshot([SMALL], [0], [0], params, 0, ["ok"])
    (found,) = LabelEmbeddings().observe(snapshot, {})
    angles = {row.at["effect"]: row.value for row in found if row.metric == "label_angle" and row.at["over"] == "mean"}
    assert angles["+"] == pytest.approx(0, abs=1e-2)
    assert angles["-"] == pytest.approx(torch.pi, abs=1e-2)

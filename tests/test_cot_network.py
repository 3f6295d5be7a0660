"""The one-layer and the deep network on counts against the same examples written out, and what training moves."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import textbook_cot
import torch
from textbook_cot import NAMES, Prompt
from textbook_gpt import textbook_layers
from torch.utils.flop_counter import FlopCounterMode

from lemmata.cot import deep
from lemmata.cot.data import Prompts, pattern_rows
from lemmata.cot.deep import Deep
from lemmata.cot.network import OneLayer, attention, forward, initial, query_key
from lemmata.cot.probes import group_masses, probe_prompts
from lemmata.lab.ensemble import fit
from lemmata.lab.patterns import orthonormal
from lemmata.lab.streams import BLOCK, stream


def assert_exact(one, other, tolerance=1e-10):
    """The same but for rounding; the tolerance left out is float64's."""
    torch.testing.assert_close(one, other, rtol=0, atol=tolerance)


def written_out(rng, B, *, M, K, l, permutations=True):
    """Prompts as explicit examples, of which half or so share the query's start."""
    prompts = []
    for _ in range(B):
        z_0 = int(rng.integers(M))
        starts = [z_0 if rng.random() < 0.5 else int(rng.integers(M)) for _ in range(l)]
        # Any maps will do: those of some prompts send several patterns to one.
        maps = [rng.permutation(M) if permutations else rng.integers(M, size=M) for _ in range(K)]
        prompts.append(Prompt(starts, [f.tolist() for f in maps], z_0, int(rng.integers(K))))
    return prompts


def counted(members, *, M, row_EMM=None):
    """The same prompts of several members as counts, in float64."""
    E, B, K = len(members), len(members[0]), len(members[0][0].maps)
    count_EBKM = torch.zeros(E, B, K, M, dtype=torch.float64)
    for e, prompts in enumerate(members):
        for b, prompt in enumerate(prompts):
            for k, i, _ in prompt.moves():
                count_EBKM[e, b, k, i] += 1
    return Prompts(
        torch.tensor([[p.maps for p in prompts] for prompts in members]),
        count_EBKM.log(),
        torch.tensor([[p.path(p.z_0) for p in prompts] for prompts in members]),
        torch.tensor([[p.asked for p in prompts] for prompts in members]),
        row_EMM,
    )


def double(prompts):
    """Drawn prompts in float64, with logarithms of whole numbers."""
    row_EMM = None if prompts.row_EMM is None else prompts.row_EMM.double()
    log_count_EBKM = prompts.log_count_EBKM.double().exp().round().log()
    return replace(prompts, log_count_EBKM=log_count_EBKM, row_EMM=row_EMM)


def some_weights(rng, E, *, M, K):
    """Weights of no particular form."""
    first = initial(M=M, K=K, delta=0.2)
    return {name: torch.from_numpy(rng.standard_normal((E, *p.shape))) / p.shape[1] ** 0.5 for name, p in first.items()}


def patterns(M, d_X, row_MM=None):
    """The TRR patterns in all of R^d_X."""
    row_MM = torch.eye(M, dtype=torch.float64) if row_MM is None else row_MM
    return torch.nn.functional.pad(row_MM, (0, d_X - M))


def assert_same(fast, e, net, *, d_X, K, tolerance=1e-10):
    """Weights or gradients of member `e` are the textbook's where the fast form has them."""
    M = fast["W_V"].shape[1]
    column_D, query_Q = textbook_cot.coordinates(M, K, d_X)
    assert_exact(fast["W_Q"][e], net.W_Q[column_D[:, None], query_Q], tolerance)
    assert_exact(fast["W_K"][e], net.W_K[column_D[:, None], column_D], tolerance)
    assert_exact(fast["W_V"][e], net.W_V[:M, column_D], tolerance)


# Against the textbook


@pytest.mark.parametrize("l", [1, 20])
@pytest.mark.parametrize("M", [4, 20])
def test_the_formulas_of_the_gradients_are_those_of_autograd(M, l):
    rng = np.random.default_rng(M + l)
    net = textbook_cot.member(some_weights(rng, 1, M=M, K=3), 0, d_X=M + 2, delta=0.3)
    prompts = written_out(rng, 5, M=M, K=3, l=l)
    columns = [p.columns(patterns(M, M + 2)) for p in prompts]
    z_BD = torch.from_numpy(rng.standard_normal((5, M + 2)))
    slow, fast = textbook_cot.autograd(net, columns, z_BD), textbook_cot.gradients(net, columns, z_BD)
    for name in NAMES:
        assert getattr(slow, name).abs().max() > 1e-3
        assert_exact(getattr(fast, name), getattr(slow, name), 1e-12)


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("l", [1, 20])
@pytest.mark.parametrize(("M", "K"), [(4, 1), (4, 3), (20, 1), (20, 3)])
def test_counts_give_the_outputs_attention_loss_and_gradients_of_examples_written_out(M, K, l, correlated):
    rng, d_X, E, B = np.random.default_rng(100 * M + 10 * K + l), M + 3, 2, 6
    params = some_weights(rng, E, M=M, K=K)
    # Turned, so that rows are not columns.
    rows = [torch.from_numpy(pattern_rows(M, c) @ orthonormal(rng, M, M)).double() for c in (0.3, 0.0)]
    row_EMM = torch.stack(rows) if correlated else None
    members = [written_out(rng, B, M=M, K=K, l=l, permutations=e == 0) for e in range(E)]
    prompts = counted(members, M=M, row_EMM=row_EMM)
    leaves = {name: p.clone().requires_grad_() for name, p in params.items()}
    loss_E = OneLayer.loss(leaves, prompts)
    found = torch.autograd.grad(loss_E.sum(), list(leaves.values()))
    output_EBM, attn_EBKM = forward(params, prompts), attention(params, prompts)
    assert torch.equal(OneLayer.forward(params, prompts), output_EBM)
    assert torch.equal(OneLayer.attentions(params, prompts)[:, 0, 0], attn_EBKM)
    for e, written in enumerate(members):
        net = textbook_cot.member(params, e, d_X=d_X, delta=0.2)
        pattern_MD = patterns(M, d_X, None if row_EMM is None else row_EMM[e])
        columns = [p.columns(pattern_MD) for p in written]
        z_BD = torch.stack([pattern_MD[p.label] for p in written])
        for b, (prompt, column_LG) in enumerate(zip(written, columns, strict=True)):
            F_D = textbook_cot.output(net, column_LG)
            assert_exact(output_EBM[e, b], F_D[:M])
            assert not F_D[M:].any()
            attn_KM = torch.zeros(K, M, dtype=torch.float64)
            for (k, i, _), a in zip(prompt.moves(), textbook_cot.attention(net, column_LG), strict=True):
                attn_KM[k, i] += a
            assert_exact(attn_EBKM[e, b], attn_KM)
        assert_exact(loss_E[e].detach(), textbook_cot.loss(net, columns, z_BD))
        slow = textbook_cot.autograd(net, columns, z_BD)
        assert_same(dict(zip(params, found, strict=True)), e, slow, d_X=d_X, K=K)
        # What the fast form leaves out of W_Q meets zeros only.
        assert not slow.W_Q[:, d_X : 2 * d_X].any() and not slow.W_Q[:, M:d_X].any()


STEPS = 30
TRAJECTORIES = {
    "shifts": OneLayer(M=6, d_X=9, B=12, l_tr=8, lr=1.5, steps=STEPS),
    "permutations": OneLayer(M=6, d_X=9, B=12, l_tr=8, lr=1.0, steps=STEPS, tasks="permutations", delta=0.3, alpha=0.7),
    "correlated": OneLayer(M=6, d_X=9, B=12, l_tr=8, lr=1.0, steps=STEPS, c_tr=0.4, tasks="unequal"),
    "one step": OneLayer(M=4, d_X=5, K=1, B=12, l_tr=3, lr=0.7, steps=STEPS),
}


@pytest.mark.parametrize("train_value", [False, True])
@pytest.mark.parametrize("name", TRAJECTORIES)
def test_thirty_steps_on_counts_are_thirty_steps_of_the_textbook_in_all_coordinates(name, train_value):
    config = TRAJECTORIES[name].replace({"train_value": train_value})
    M, K, d_X, seed = config.M, config.K, config.d_X, 5
    job, tasks = OneLayer.job([config], [seed], "cpu"), config.task_set(seed)
    delta = float(torch.tensor(config.delta))
    first = net = textbook_cot.beginning(d_X, K, delta)
    pattern_MD = patterns(M, d_X, torch.from_numpy(pattern_rows(M, config.c_tr)).double())
    params, losses, written = {n: p.double() for n, p in job.params().items()}, [], []
    trained = [n for n in NAMES if train_value or n != "W_V"]
    for step in range(STEPS):
        block, at = divmod(step, BLOCK)
        if at == 0:
            rng = stream("cot.prompts", config.axes("data"), seed, block)
            B = BLOCK * config.B
            written = textbook_cot.drawn(rng, B, config.l_tr, alpha=config.alpha, tasks=tasks)
        here = written[at * config.B : (at + 1) * config.B]
        columns = [p.columns(pattern_MD) for p in here]
        z_BD = torch.stack([pattern_MD[p.label] for p in here])
        losses.append(float(textbook_cot.loss(net, columns, z_BD)))
        net = textbook_cot.descend(net, columns, z_BD, config.lr, train_value=train_value)

        leaves = {n: p.detach().requires_grad_(n in trained) for n, p in params.items()}
        loss_E = job.loss(leaves, double(job.draws(step)))
        assert float(loss_E.detach()) == pytest.approx(losses[-1], abs=1e-10)
        found = torch.autograd.grad(loss_E.sum(), [leaves[n] for n in trained])
        params |= {n: params[n] - config.lr * g for n, g in zip(trained, found, strict=True)}
    assert_same(params, 0, net, d_X=d_X, K=K, tolerance=1e-9)
    # In all coordinates: beyond the span of the patterns nothing has moved, and elsewhere much has.
    full = textbook_cot.member(params, 0, d_X=d_X, delta=delta)
    for n in NAMES:
        assert_exact(getattr(net, n), getattr(full, n), 1e-9)
        assert ((getattr(net, n) - getattr(first, n)).abs().max() > 0.03) == (n in trained)
    assert max(losses) < 0.5
    # Training itself does the same in float32.
    snapshot = fit([config], [seed])
    for n in NAMES:
        assert_exact(snapshot.params[n].double(), params[n], 1e-5)
    assert (snapshot.params["W_V"] == initial(M=M, K=K, delta=1)["W_V"]).all() != train_value


# Members in company


def company(M, steps=12, **changes):
    """Eight members that differ in what they may."""
    base = OneLayer(M=M, d_X=M, B=16, steps=steps, train_value=True)
    own = [{"lr": (1 + e) / 4, "alpha": 0.3 + e / 20, "l_tr": 10 + e} for e in range(8)]
    return [base.replace(mine | {n: v * (e + 1) for n, v in changes.items()}) for e, mine in enumerate(own)]


@pytest.mark.parametrize("c_tr", [0.0, 0.1])
@pytest.mark.parametrize("M", [12, 20])
def test_a_members_numbers_are_the_same_to_the_bit_in_any_company(M, c_tr):
    configs = company(M, c_tr=c_tr)
    whole = fit(configs, range(8))
    prompts = probe_prompts(whole, prompts=50)
    for here in ([0], [1], [3], [0, 1], [3, 4], [0, 1, 2, 3, 4], [3, 4, 5, 6, 7]):
        part = fit([configs[e] for e in here], here)
        for name, p in part.params.items():
            assert torch.equal(p, whole.params[name][here]), (here, name)
        mine = probe_prompts(part, prompts=50)
        for function in (forward, attention, OneLayer.loss):
            assert torch.equal(function(part.params, mine), function(whole.params, prompts)[here]), (here, function)


@pytest.mark.parametrize("M", [4, 6, 10])
def test_with_few_patterns_company_changes_no_more_than_rounding(M):
    # MKL's products of narrow matrices round by where in memory these begin, as its manual says.
    configs = company(M)
    whole = fit(configs, range(8))
    for e, config in enumerate(configs):
        for name, p in fit([config], [e]).params.items():
            assert_exact(p[0], whole.params[name][e], 2e-6)


def test_correlated_members_leave_others_as_they_are():
    plain, other, *_ = company(20)
    alone, beside = fit([plain], [0]), fit([plain, other.replace({"c_tr": 0.5})], [0, 1])
    for name, p in alone.params.items():
        assert_exact(beside.params[name][:1], p, 1e-6)


# The start


def test_before_training_attention_is_about_uniform_as_in_the_published_figure():
    blind = OneLayer(steps=0, delta=0.0).train(range(4))
    prompts = probe_prompts(blind, prompts=2000)
    share_G = group_masses(OneLayer.attentions(blind.params, prompts), prompts)[:, 0, 0].mean(0)
    # With a columns of the query's own, all of its pattern and of other steps, beside l K of the examples.
    l, K, alpha, a_K = 20, 3, 0.4, np.arange(3)
    expected = [l * alpha, l * alpha * (K - 1) + a_K, l * (1 - alpha), l * (1 - alpha) * (K - 1)]
    expected = [float((n / (l * K + a_K)).mean()) for n in expected]
    # Of 20 starts a share of .4 has a standard deviation of .11, and the query's start decides all four groups.
    np.testing.assert_allclose(share_G, expected, atol=4 * 0.11 * 2 / 3 / 8000**0.5)
    net = OneLayer(steps=0).train(range(4))  # with the same prompts
    figure_G = group_masses(OneLayer.attentions(net.params, prompts), prompts)[:, 0, 0].mean(0)
    np.testing.assert_allclose(figure_G, [0.14, 0.27, 0.21, 0.39], atol=0.015)


def test_first_weights_are_small_identities_and_a_selector():
    first = initial(M=3, K=2, delta=0.25)
    x, y, code = torch.eye(3), torch.zeros(3, 3), torch.zeros(3, 2)
    assert torch.equal(first["W_K"], 0.25 * torch.eye(8))
    assert torch.equal(first["W_Q"], first["W_K"][:, [0, 1, 2, 6, 7]])
    assert torch.equal(first["W_V"], torch.cat([y, x, code], 1))
    params = OneLayer(steps=0, M=4, d_X=4, K=2, delta=0.25).train([0, 9]).params
    for name, p in initial(M=4, K=2, delta=0.25).items():
        assert torch.equal(params[name], torch.stack([p, p]))
    weights = some_weights(np.random.default_rng(0), 2, M=4, K=2)
    assert_exact(query_key(weights), torch.einsum("edq,edg->eqg", weights["W_Q"], weights["W_K"]), 1e-12)


# Work


@pytest.mark.parametrize("train_value", [False, True])
def test_the_products_of_a_step_are_those_of_its_work(train_value):
    config = OneLayer(steps=1, B=64, train_value=train_value)
    with FlopCounterMode(display=False) as counter:
        config.train()
    D, Q, B, M, K = 43, 23, 64, 20, 3
    # The selector is multiplied out as well, forward and backward: 4 B D M that need not be.
    value = 6 * B * D * M if train_value else 0
    assert counter.get_total_flops() == 6 * D * D * Q + (value or 4 * B * D * M)
    # What is left is not products. By hand and forward, 10 operations a column: a look-up and three additions for its
    # score, three for the softmax, three additions to pool it; work may count two thirds of it, or half as much again.
    columns = 6 * B * K * M
    assert 2 / 3 <= (config.work() - 6 * D * D * Q - value) / (10 * columns) <= 1.5
    assert config.replace({"steps": 7}).work() == pytest.approx(7 * config.work())


# Compiled


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile wants a C++ compiler, and there is no g++")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # of its compiler against its own library
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_compiled_training_agrees():
    config = OneLayer(M=6, d_X=6, B=8, l_tr=6, steps=4, lr=1.0, train_value=True)
    eager, compiled = config.train([0, 1]), config.train([0, 1], compile=True)
    for name, p in eager.params.items():
        assert (p - initial(M=6, K=3, delta=0.2)[name]).abs().max() > 1e-3
        torch.testing.assert_close(compiled.params[name], p, rtol=0, atol=1e-5)


# The deep network


@pytest.mark.parametrize("mlp", [True, False])
@pytest.mark.parametrize(("K", "correlated"), [(2, False), (3, True)])
def test_the_deep_network_on_counts_is_the_textbooks_on_repeated_tokens(K, mlp, correlated):
    rng, M, l, E, B = np.random.default_rng(K), 5, 6, 2, 4
    first = deep.initial(rng, M=M, K=K, N=3, H=2, D=8, mlp=mlp)
    # Far from their start, so that every gain, shift and bias takes part.
    params = {n: p + torch.from_numpy(0.3 * rng.standard_normal((E, *p.shape))) for n, p in first.items()}
    row_EMM = torch.stack([torch.from_numpy(pattern_rows(M, c)).double() for c in (0.2, 0.5)]) if correlated else None
    members = [written_out(rng, B, M=M, K=K, l=l, permutations=False) for _ in range(E)]
    prompts = counted(members, M=M, row_EMM=row_EMM)
    output_EBM, attn_ENHBKM = deep.forward(params, prompts), Deep.attentions(params, prompts)
    assert torch.equal(Deep.forward(params, prompts), output_EBM)
    assert attn_ENHBKM.shape == (E, 3, 2, B, K, M)
    for e, written in enumerate(members):
        layers = textbook_layers({n: p for n, p in params.items() if n != "W_in"}, e)
        for b, prompt in enumerate(written):
            pattern_MM = patterns(M, M, None if row_EMM is None else row_EMM[e])
            token_LD = prompt.columns(pattern_MM) @ params["W_in"][e]
            answer_D, attns = textbook_cot.read_by_query(layers, token_LD[:-1], token_LD[-1])
            assert_exact(output_EBM[e, b], answer_D @ params["W_out"][e])
            for n, attn_HL in enumerate(attns):
                attn_HKM = torch.zeros(2, K, M, dtype=torch.float64)
                for t, (k, i, _) in enumerate(prompt.moves()):
                    attn_HKM[:, k, i] += attn_HL[:, t]
                assert_exact(attn_ENHBKM[e, n, :, b], attn_HKM)


def test_the_deep_networks_first_weights_are_a_function_of_its_own_constants_and_the_seed():
    config = Deep(steps=0, M=6, d_X=6, width=8)
    weights = config.train([3]).params["W_QKV"]
    for same in ({"alpha": 0.3}, {"lr": 2.0}, {"tasks": "half"}, {"B": 5}):
        assert torch.equal(config.replace(same).train([3]).params["W_QKV"], weights)
    assert not torch.equal(config.train([4]).params["W_QKV"], weights)
    assert not torch.equal(config.replace({"n_head": 1}).train([3]).params["W_QKV"].flatten(), weights.flatten())
    trained = config.replace({"steps": 2}).train([3]).params
    assert all(not torch.equal(p, config.weights(3)[name][None]) for name, p in trained.items())


def test_a_deep_members_numbers_are_the_same_to_the_bit_in_any_company():
    configs = [Deep(M=6, d_X=6, width=16, B=6, steps=3, alpha=0.3 + e / 20, mlp=True) for e in range(8)]
    whole = fit(configs, range(8))
    for here in ([0], [3], [6, 7], [1, 2, 3, 4, 5]):
        for name, p in fit([configs[e] for e in here], here).params.items():
            assert torch.equal(p, whole.params[name][here]), (here, name)


@pytest.mark.parametrize("mlp", [False, True])
def test_the_products_of_a_deep_step_are_about_its_work(mlp):
    config = Deep(steps=1, M=10, d_X=10, B=8, mlp=mlp)
    with FlopCounterMode(display=False) as counter:
        config.train()
    assert 1 <= counter.get_total_flops() / config.work() < 1.5

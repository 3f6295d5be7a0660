"""The usual scripts train the same networks as Lemmata, and the benchmark tells the truth about both."""

import json
import math
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from lemmata import editing, graph, vision
from lemmata.bench import (
    _measured,
    cost,
    run,
    team,
    usual_cot,
    usual_editing,
    usual_graph,
    usual_icl,
    usual_vision,
    worker,
)
from lemmata.bench.team import Team, Turn
from lemmata.bench.worker import WORKLOADS
from lemmata.editing.vectors import fine_tuned
from lemmata.lab.ensemble import fit
from lemmata.lab.errors import EngineError, InputError, UnknownNameError
from lemmata.lab.pace import Pace

KEYS = {"rate", "naive_rate", "ratio", "ratio_lo", "ratio_hi", "share_of_peak", "sgemm_gflops", "rss_mb"}
SCRIPTS = {
    "icl.one-layer": usual_icl,
    "cot.one-layer": usual_cot,
    "editing.one-layer": usual_editing,
    "vision.one-layer": usual_vision,
    "graph.one-layer": usual_graph,
}


# The same networks. What the coordinates of Lemmata's columns are in a usual script's is a basis, a row a coordinate.


class Icl:
    """The prompts and weights of Lemmata's first member in the usual script's coordinates."""

    script = usual_icl
    trained = ("W_Q", "W_K", "W_V", "W_O")

    def __init__(self):
        V, H = usual_icl.D_X, usual_icl.D_X + usual_icl.D_Y
        self.basis_DH = torch.zeros(V + 1, H)
        self.basis_DH[:V, :V] = torch.linalg.qr(torch.randn(V, V)).Q
        self.basis_DH[V, V:] = F.normalize(torch.randn(H - V), dim=0)

    def network(self, params):
        """W_Q and W_K have rows beyond Lemmata's, which are 0."""
        network, H = usual_icl.Network(), self.basis_DH.shape[1]
        with torch.no_grad():
            for name in ("W_Q", "W_K", "W_V"):
                rows = params[name][0] @ self.basis_DH
                getattr(network, name).copy_(F.pad(rows, (0, 0, 0, H - len(rows))))
            network.W_O.copy_(params["W_O"][0])
        assert torch.equal(network.a, params["a"][0])
        return network

    def batch(self, prompts):
        return (prompts.columns(usual_icl.D_X) @ self.basis_DH)[0], prompts.target_EB[0]

    def forward(self, config, params, prompts):
        return config.forward(params, prompts)[0]


class Cot:
    """The same for chain-of-thought, where a prompt is the columns that Lemmata counts."""

    script = usual_cot
    trained = ("W_Q", "W_K")

    def __init__(self):
        X, K = usual_cot.D_X, usual_cot.K
        self.pattern_MX = torch.linalg.qr(torch.randn(X, X)).Q[: usual_cot.M]
        self.basis_DH = torch.block_diag(self.pattern_MX, self.pattern_MX, torch.eye(K))

    def network(self, params):
        """W_Q and W_K have rows and columns beyond Lemmata's, which are 0; so are the rows of W_Q that y would meet."""
        M, H = usual_cot.M, self.basis_DH.shape[1]
        network = usual_cot.Network()
        query_QH = torch.cat([self.basis_DH[:M], self.basis_DH[2 * M :]])
        with torch.no_grad():
            for name, basis_H in (("W_Q", query_QH), ("W_K", self.basis_DH)):
                rows = params[name][0] @ basis_H
                getattr(network, name).copy_(F.pad(rows, (0, 0, 0, H - len(rows))))
            network.W_V.copy_(self.pattern_MX.T @ params["W_V"][0] @ self.basis_DH)
        return network

    def batch(self, prompts):
        M, K, columns = usual_cot.M, usual_cot.K, (usual_cot.LENGTH + 1) * usual_cot.K
        step_BKM, count_BKM = prompts.step_EBKM[0], prompts.count_EBKM[0].round().long()
        prompt_BLD = torch.zeros(len(step_BKM), columns, 2 * M + K)
        mask_BL = torch.zeros(len(step_BKM), columns - 1, dtype=torch.bool)
        for step_KM, count_KM, prompt_LD, mask_L in zip(step_BKM, count_BKM, prompt_BLD, mask_BL, strict=True):
            k, i = torch.nonzero(count_KM).repeat_interleave(count_KM[count_KM > 0], dim=0).T
            here = torch.arange(len(k))
            for place in (i, M + step_KM[k, i], 2 * M + k):
                prompt_LD[here, place] = 1
            mask_L[here] = True
        rows = torch.arange(len(step_BKM))
        prompt_BLD[rows, -1, prompts.query_EB[0]] = 1
        prompt_BLD[rows, -1, 2 * M + prompts.asked_EB[0]] = 1
        return prompt_BLD @ self.basis_DH, mask_BL, self.pattern_MX[prompts.target_EB[0]]

    def forward(self, config, params, prompts):
        return config.forward(params, prompts)[0] @ self.pattern_MX


class Editing:
    """The same for task vectors, which Lemmata trains as what they add to a base."""

    script = usual_editing
    trained = ("delta.W", "delta.V")

    def __init__(self):
        D = usual_editing.TASKS + 1 + usual_editing.J
        self.basis_DH = torch.linalg.qr(torch.randn(usual_editing.D, usual_editing.D)).Q[:D]

    def network(self, params):
        network, tuned = usual_editing.Network(), fine_tuned(params)
        with torch.no_grad():
            network.W.copy_(self.basis_DH.T @ tuned["W"][0] @ self.basis_DH)
            network.V.copy_(tuned["V"][0] @ self.basis_DH)
            network.a.copy_(params["a"][0, 0])
        return network

    def batch(self, samples):
        count_TBK = (samples.share_ETBK[0] * usual_editing.LENGTH).round().long()
        rows = [
            torch.stack([row_KD.repeat_interleave(count_K, 0) for count_K in count_BK])
            for row_KD, count_BK in zip(samples.row_ETKD[0], count_TBK, strict=True)
        ]
        return torch.stack(rows, 1) @ self.basis_DH, samples.label_ETB[0].T

    def forward(self, config, params, samples):
        return editing.forward(fine_tuned(params), params["a"], samples)[0].T


class Vision:
    """The same for vision, whose samples Lemmata keeps as shares of patterns."""

    script = usual_vision
    trained = ("W_Q", "W_K", "W_V", "W_O")

    def __init__(self):
        self.basis_MH = torch.linalg.qr(torch.randn(usual_vision.M, usual_vision.M)).Q

    def network(self, params):
        network = self.script.Network()
        with torch.no_grad():
            for name in ("W_Q", "W_K", "W_V"):
                getattr(network, name).copy_(params[name][0] @ self.basis_MH)
            network.W_O.copy_(params["W_O"][0])
            if "b" in params:
                network.get_parameter("b").copy_(params["b"][0])
        assert torch.equal(network.a, params["a"][0])
        return network

    def batch(self, samples):
        count_BT = (samples.share_EBT[0] * usual_vision.LENGTH).round().long()
        pattern_BL = torch.stack(
            [p_T.repeat_interleave(n_T) for p_T, n_T in zip(samples.pattern_EBT[0], count_BT, strict=True)]
        )
        return self.basis_MH[pattern_BL], samples.label_EB[0]

    def forward(self, config, params, samples):
        return vision.forward(params, samples)[0]


class Graph(Vision):
    """The same for graphs, where a neighbourhood is how many nodes of each pattern there are at each distance."""

    script = usual_graph

    def __init__(self):
        self.basis_MH = torch.linalg.qr(torch.randn(usual_graph.M, usual_graph.M)).Q

    def batch(self, nodes):
        Z, S, M = usual_graph.HOPS, usual_graph.SIZE, usual_graph.M
        count_BZM = nodes.count_EBZM[0].round().long()
        sampled_BZS = torch.zeros(*count_BZM.shape[:2], S, dtype=torch.long)
        there_BZS = torch.zeros_like(sampled_BZS, dtype=torch.bool)
        for b, count_ZM in enumerate(count_BZM):
            for z, count_M in enumerate(count_ZM):
                pattern_S = torch.arange(M).repeat_interleave(count_M)
                sampled_BZS[b, z, : len(pattern_S)], there_BZS[b, z, : len(pattern_S)] = pattern_S, True
        hop_BS = torch.arange(Z).repeat_interleave(S).expand(len(count_BZM), -1)
        node_BH, sampled_BSH = self.basis_MH[nodes.pattern_EB[0]], self.basis_MH[sampled_BZS.flatten(1)]
        return node_BH, sampled_BSH, hop_BS, there_BZS.flatten(1), nodes.label_EB[0]

    def forward(self, config, params, nodes):
        return graph.forward(params, nodes)[0]


@pytest.fixture(params=[Icl, Cot, Editing, Vision, Graph], ids=list(SCRIPTS))
def both(request):
    """A workload with its translation."""
    torch.manual_seed(0)
    return WORKLOADS[request.node.callspec.id], request.param()


def test_the_usual_network_computes_the_same(both):
    workload, translate = both
    job = workload.config.job([workload.config], [0], "cpu")
    params, prompts = job.params(), job.draws(0)
    for name in translate.trained:
        params[name] = params[name] + 0.3 * torch.randn_like(params[name])
    expected = translate.forward(workload.config, params, prompts)
    *inputs, _ = translate.batch(prompts)
    torch.testing.assert_close(translate.network(params)(*inputs), expected, rtol=1e-5, atol=1e-5)
    assert expected.std() > 0.05


def test_the_usual_steps_train_the_same(both):
    workload, translate = both
    config = workload.config.replace({"steps": 20, "lr": 2.0})
    job = config.job([config], [0], "cpu")
    network = translate.network(job.params())
    optimizer = torch.optim.SGD(network.parameters(), lr=config.lr)
    for step in range(config.steps):
        loss = translate.script.loss(network, *translate.batch(job.draws(step)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    trained = fit([config], [0]).params
    expected = translate.network(trained)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter, getattr(expected, name), rtol=1e-5, atol=1e-5)
    for name in translate.trained:
        assert (trained[name] - job.params()[name]).abs().max() > 0.01


def test_a_workload_is_named_by_its_network_and_trained_with_the_constants_of_its_script():
    assert list(WORKLOADS) == [workload.config.kind for workload in WORKLOADS.values()] == list(SCRIPTS)
    for name, workload in WORKLOADS.items():
        script, constants = SCRIPTS[name].SCRIPT, asdict(workload.config)
        assert workload.script is script
        assert (constants["B"], constants["lr"]) == (script.batch, script.learning_rate)


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_necessary_operations_are_no_more_than_a_step_is_planned_to_take(name):
    config, operations = WORKLOADS[name].config, WORKLOADS[name].operations
    assert 0.3 * config.work() / config.steps < operations <= config.work() / config.steps


@pytest.mark.parametrize(
    ("name", "millions", "times"),
    [
        ("icl.one-layer", 156, 8),
        ("cot.one-layer", 81, 300),
        ("editing.one-layer", 38, 2.06),
        ("vision.one-layer", 230, 320),
        ("graph.one-layer", 1, 15.8),
    ],
)
def test_a_usual_step_takes_as_many_operations_as_the_docs_say(name, millions, times):
    module, workload = SCRIPTS[name], WORKLOADS[name]
    with FlopCounterMode(display=False) as counter:
        module.loss(module.Network(), *module.draw_prompts(workload.script.batch)).backward()
    assert counter.get_total_flops() / 1e6 == pytest.approx(millions, abs=0.5)
    assert counter.get_total_flops() / workload.operations == pytest.approx(times, rel=0.05)


# The usual scripts on their own.


@pytest.mark.parametrize(
    ("script", "first", "last"),
    [
        (usual_icl, 1, 0.05),
        (usual_cot, 0.38, 0.2),
        (usual_editing, 2, 0.6),
        (usual_vision, 1, 0.2),
        (usual_graph, 1, 0.9),
    ],
)
def test_a_usual_script_learns(script, first, last):
    losses = script.SCRIPT.training(seed=0)
    before, *_, after = (next(losses).item() for _ in range(150))
    assert before == pytest.approx(first, abs=0.02)
    assert after < last


def test_the_usual_script_of_cot_computes_the_formula_of_the_paper():
    """sum_i W_V p_i softmax((W_K p_i)^T W_Q p_query), a column at a time, over the columns that there are."""
    torch.manual_seed(0)
    network = usual_cot.Network().double()
    assert torch.equal(network.W_Q, network.W_K)
    torch.testing.assert_close(network.W_K, 0.2 * torch.eye(63).double())
    torch.testing.assert_close(network.W_V, torch.eye(63).double()[30:60])
    prompts, mask, _ = usual_cot.draw_prompts(12)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    network.requires_grad_(False)
    for prompt, there, output in zip(prompts.double(), mask, network(prompts.double(), mask), strict=True):
        query = network.W_Q @ prompt[-1]
        columns = [column for column, is_there in zip(prompt[:-1], there, strict=True) if is_there]
        weights = [math.exp((network.W_K @ column) @ query) for column in columns]
        expected = sum(weight * (network.W_V @ column) for weight, column in zip(weights, columns, strict=True))
        torch.testing.assert_close(output, expected / sum(weights), rtol=1e-12, atol=1e-12)


def test_only_the_attention_of_the_usual_script_of_cot_moves():
    network = usual_cot.Network()
    assert {name for name, p in network.named_parameters() if p.requires_grad} == {"W_Q", "W_K"}


def test_the_usual_prompts_of_icl_are_those_of_the_paper():
    torch.manual_seed(0)
    prompts, labels = usual_icl.draw_prompts(4000)
    V = usual_icl.D_X
    x, y = prompts[..., :V], prompts[..., V:]
    assert prompts.shape == (4000, usual_icl.LENGTH + 1, V + usual_icl.D_Y)
    assert not y[:, -1].any()
    # An example carries the query's pattern where their inner product is large; then it has the query's label.
    product = (x[:, :-1] @ x[:, -1:].transpose(1, 2)).squeeze(-1) / usual_icl.BETA**2
    same = product > 0.5
    assert same.float().mean() == pytest.approx(usual_icl.ALPHA / 2, abs=0.01)
    q = (labels[:, None, None] * y[:, :-1])[same].mean(0)
    assert q.norm() == pytest.approx(1, abs=1e-5)
    assert (y[:, :-1] @ q).abs().min() == pytest.approx(1, abs=1e-5)
    assert (y[:, :-1] @ q).mean() == pytest.approx(0, abs=0.05)
    assert labels.mean() == pytest.approx(0, abs=0.05)


@dataclass(frozen=True)
class Drawn:
    """Prompts of CoT's usual script, and the indices of the patterns in them; -1 where there is none."""

    prompts: Tensor
    mask: Tensor
    x: Tensor
    y: Tensor
    query: Tensor
    label: Tensor

    @property
    def step(self):
        """The step that the query is at, 0 .. K-1."""
        return self.prompts[:, -1, -usual_cot.K :].argmax(-1)

    @property
    def shift(self):
        """By how much each example moves in each step, (count, LENGTH, K)."""
        examples = slice(0, usual_cot.LENGTH * usual_cot.K)
        return ((self.y - self.x)[:, examples] % usual_cot.M).unflatten(1, (usual_cot.LENGTH, usual_cot.K))

    @property
    def away(self):
        """By how much each example starts away from where the query does, (count, LENGTH)."""
        behind = (self.shift[:, 0] * (torch.arange(usual_cot.K) < self.step.unsqueeze(1))).sum(-1)
        starts = self.x[:, : usual_cot.LENGTH * usual_cot.K : usual_cot.K]
        return (starts - (self.query - behind).unsqueeze(1)) % usual_cot.M


@pytest.fixture(scope="module")
def drawn():
    torch.manual_seed(0)
    patterns = torch.linalg.qr(torch.randn(usual_cot.D_X, usual_cot.D_X)).Q[: usual_cot.M]
    torch.manual_seed(0)
    prompts, mask, labels = usual_cot.draw_prompts(4000)

    def index(vectors):
        one_hot = vectors @ patterns.T
        found = one_hot.argmax(-1)
        there = vectors.any(-1)
        torch.testing.assert_close(patterns[found] * there.unsqueeze(-1), vectors)
        return torch.where(there, found, -1)

    x, y, _ = prompts.split([usual_cot.D_X, usual_cot.D_X, usual_cot.K], -1)
    return Drawn(prompts, mask, index(x[:, :-1]), index(y[:, :-1]), index(x[:, -1]), index(labels))


def test_the_usual_prompts_of_cot_are_those_of_the_paper(drawn):
    X, K, LK = usual_cot.D_X, usual_cot.K, usual_cot.LENGTH * usual_cot.K
    assert drawn.prompts.shape == (4000, LK + K, 2 * X + K)
    assert drawn.mask.shape == (4000, LK + K - 1)
    # All examples are there, then a column for each step that the query has behind it; padding is 0.
    assert drawn.mask[:, :LK].all()
    assert torch.equal(drawn.mask[:, LK:], torch.arange(K - 1) < drawn.step.unsqueeze(1))
    assert not drawn.prompts[:, :-1][~drawn.mask].any()
    for index in (drawn.x, drawn.y):
        assert torch.equal(index >= 0, drawn.mask)
    codes = drawn.prompts[:, :-1, 2 * X :][drawn.mask]
    assert torch.equal(codes, torch.eye(K).repeat(usual_cot.LENGTH + 1, 1)[:-1].expand(4000, -1, -1)[drawn.mask])
    # The query's column lacks what is asked for.
    assert not drawn.prompts[:, -1, X : 2 * X].any()
    assert (drawn.query >= 0).all()

    # A column starts where the one before ended, and the query where its own last one did.
    goes_on = (torch.arange(LK + K - 2) % K < K - 1) & drawn.mask[:, 1:]
    assert torch.equal(drawn.y[:, :-1][goes_on], drawn.x[:, 1:][goes_on])
    has_own = drawn.step > 0
    assert torch.equal(drawn.y[has_own, LK + drawn.step[has_own] - 1], drawn.query[has_own])

    # All of a prompt, the query and its label included, move by the same in the same step.
    shift = drawn.shift[:, 0]
    assert (drawn.shift == shift.unsqueeze(1)).all()
    own = drawn.mask[:, LK:]
    assert torch.equal(((drawn.y - drawn.x)[:, LK:] % usual_cot.M)[own], shift[:, :-1][own])
    moved = drawn.query + shift.gather(1, drawn.step.unsqueeze(1)).squeeze(1)
    assert torch.equal(moved % usual_cot.M, drawn.label)


def test_the_usual_prompts_of_cot_are_drawn_by_the_law_of_the_paper(drawn):
    M, K, length = usual_cot.M, usual_cot.K, usual_cot.LENGTH
    same = drawn.away == 0
    assert same.float().mean() == pytest.approx(usual_cot.ALPHA, abs=0.01)
    # One example is as another: how many of them start where the query does is binomial.
    assert same.sum(-1).float().var() == pytest.approx(length * usual_cot.ALPHA * (1 - usual_cot.ALPHA), rel=0.1)
    assert drawn.away[~same].bincount() / (~same).sum() == pytest.approx([0] + [1 / (M - 1)] * (M - 1), abs=0.005)
    assert drawn.step.bincount() / 4000 == pytest.approx([1 / K] * K, abs=0.03)
    shift = drawn.shift[:, 0]
    uniform = [drawn.query, drawn.label, *shift.T, *(shift - shift.roll(1, 1)).remainder(M).T]
    for index in uniform:
        assert index.bincount() / 4000 == pytest.approx([1 / M] * M, abs=0.015)


def test_the_attention_of_the_usual_script_of_cot_starts_where_the_figure_does(drawn):
    """Of (same, different) start as the query by (same, different) step: .14 .27 .21 .39 in the paper's figure."""
    K, length = usual_cot.K, usual_cot.LENGTH
    attention = usual_cot.Network().attention(drawn.prompts, drawn.mask).detach().squeeze(1)
    assert not attention[~drawn.mask].any()
    torch.testing.assert_close(attention.sum(-1), torch.ones(4000))
    # The query's own columns start where it does.
    starts_with = torch.cat([drawn.away == 0, torch.ones(4000, 1, dtype=torch.bool)], 1)
    same_start = starts_with.repeat_interleave(K, 1)[:, :-1]
    same_step = torch.arange(length * K + K - 1) % K == drawn.step.unsqueeze(1)
    groups = [a & b for a in (same_start, ~same_start) for b in (same_step, ~same_step)]
    found = [(attention * group).sum(-1).mean().item() for group in groups]
    assert found == pytest.approx([0.13, 0.27, 0.20, 0.40], abs=0.015)


# What is measured.


def test_a_run_measures_both_sides_of_every_workload():
    seen = []

    def progress(done, total, seconds_left, note=""):
        seen.append((done, total, seconds_left))

    found = run(2, steps=4, workers=1, progress=progress)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert list(found["workloads"]) == list(WORKLOADS)
    for name, measured in found["workloads"].items():
        assert measured.keys() == KEYS
        assert 0 < measured["ratio_lo"] <= measured["ratio"] <= measured["ratio_hi"]
        share = measured["rate"] * WORKLOADS[name].operations / measured["sgemm_gflops"] / 1e9
        assert measured["share_of_peak"] == pytest.approx(share)
        assert 50 < measured["rss_mb"] < 600
    assert found["machine"].keys() == {"cpu", "workers", "torch"}
    assert [(done, total) for done, total, _ in seen] == [(1, 2), (2, 2)]
    assert seen[0][2] > seen[1][2] == 0


class Counted:
    """In place of a team: says who works when."""

    log: ClassVar[list[str]] = []

    def __init__(self, kind, workers, steps):
        self.kind = kind

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def wait_until_ready(self):
        pass

    def turn(self):
        self.log.append(self.kind)
        return Turn(1.0, 0.0)


@pytest.fixture
def log(monkeypatch):
    monkeypatch.setattr("lemmata.bench.Team", Counted)
    monkeypatch.setattr(Counted, "log", [])
    monkeypatch.setattr("lemmata.lab.pace.measured", lambda config, compile: Counted.log.append("measured"))
    return Counted.log


def test_all_take_turns_in_a_round_and_the_next_goes_backwards(log):
    assert list(run(2, workers=1)["workloads"]) == list(WORKLOADS)
    there = [*(f"{name}/{way}" for name in WORKLOADS for way in ("usual", "eager")), "sgemm"]
    # How many train together is found out before anything else works.
    assert log == ["measured"] * len(WORKLOADS) + there + there[::-1]


def test_one_paper_can_be_measured_alone_and_compiled(log):
    found = run(1, papers=["cot", "cot"], workers=1, compile=True)
    assert list(found["workloads"]) == ["cot.one-layer", "cot.one-layer-compiled"]
    assert log == [
        "measured",
        "measured",
        "cot.one-layer/usual",
        "cot.one-layer/eager",
        "cot.one-layer/compiled",
        "sgemm",
    ]


def test_a_paper_without_a_workload_is_refused(log, shell):
    with pytest.raises(UnknownNameError, match="did you mean cot"):
        run(1, papers=["icl", "cott"])
    assert "choose one of cot, editing, graph, icl, vision" in shell.refuse("bench", "zebra")
    assert log == []


def test_the_ratio_is_taken_within_each_round():
    ours = [Turn(rate, 100.0 + rate) for rate in (10.0, 40.0, 30.0)]
    usual = [Turn(rate, 0.0) for rate in (1.0, 5.0, 2.0)]
    sgemm = [Turn(rate, 0.0) for rate in (1.0, 2.0, 3.0)]
    assert _measured(ours, usual, sgemm, 20e6) == {
        "rate": 30,
        "naive_rate": 2,
        "ratio": 10,
        "ratio_lo": 8,
        "ratio_hi": 15,
        "share_of_peak": pytest.approx(30 * 20e6 / 2e9),
        "sgemm_gflops": 2,
        "rss_mb": 140,
    }


@pytest.mark.parametrize("size", [4, 16])
@pytest.mark.parametrize("name", WORKLOADS)
def test_the_workers_share_the_members(monkeypatch, name, size):
    workload = WORKLOADS[name]
    trained = []
    monkeypatch.setattr(worker, "measured", lambda config, compile: Pace((2, size), (1.0, 2.0), 0.1))
    monkeypatch.setattr(
        type(workload.config), "train", lambda self, seeds, compile: trained.append((self.steps, list(seeds)))
    )
    works = [worker.ensemble(workload, i, 3, 7, compile=False) for i in range(3)]
    rounds = worker.MEMBERS // (3 * size) + 2
    assert [work() for _ in range(rounds) for work in works] == [size * 7] * 3 * rounds
    assert {steps for steps, _ in trained} == {7}
    seeds = [seed for _, chunk in trained for seed in chunk]
    assert seeds[: worker.MEMBERS] == list(range(worker.MEMBERS))
    assert len(seeds) > worker.MEMBERS


# What was measured before.


def measured(ratio):
    return {"ratio": ratio, "ratio_lo": ratio - 0.2, "ratio_hi": ratio + 0.2}


@pytest.fixture
def earlier(shell, monkeypatch):
    """An earlier run in a file, and one now that is said to find these ratios."""

    def of(before, now, **machine):
        here = {"cpu": "x", "workers": 2, "torch": "2"}
        (shell.folder / "b.json").write_text(json.dumps({"workloads": before, "machine": here | machine}))
        whole = {"rate": 1.0, "naive_rate": 1.0, "share_of_peak": 0.1, "sgemm_gflops": 1.0, "rss_mb": 1.0}
        found = {"workloads": {name: whole | each for name, each in now.items()}, "machine": here}
        monkeypatch.setattr("lemmata.bench.run", lambda *args, **others: found)
        monkeypatch.setattr("lemmata.bench.machine", lambda workers: here)
        monkeypatch.setattr("lemmata.bench.workloads", lambda papers: list(now))
        return shell("bench", "--against", "b.json")

    return of


@pytest.mark.parametrize(
    ("now", "said", "status"), [(5.0, "as fast as", 0), (4.5, "slower than", 3), (5.5, "faster than", 0)]
)
def test_slower_is_what_is_slower_in_every_round(earlier, now, said, status):
    call = earlier({"icl.one-layer": measured(5.0)}, {"icl.one-layer": measured(now), "cot.one-layer": measured(1.0)})
    assert call.status == status
    line = call.out.splitlines()[-1]
    assert line.startswith(f"icl.one-layer is {said} before: {now:.1f} (") and "was 5.0 (4.8 to 5.2)" in line


@pytest.mark.parametrize("machine", [{"cpu": "y"}, {"workers": 4}], ids=str)
def test_another_machines_baseline_is_refused(earlier, machine):
    call = earlier({"icl.one-layer": measured(5.0)}, {"icl.one-layer": measured(5.0)}, **machine)
    assert call.status == 2 and "a baseline of this machine" in call.err


def test_what_is_no_baseline_is_refused_before_anything_is_measured(earlier, shell):
    assert "measured before" in earlier({"icl.one-layer": measured(5.0)}, {"cot.one-layer": measured(5.0)}).err
    for name, text in (
        ("none.json", None),
        ("text.json", "text"),
        ("list.json", "[]"),
        ("part.json", '{"workloads": {}}'),
    ):
        if text is not None:
            (shell.folder / name).write_text(text)
        assert "lemmata bench --json" in shell.refuse("bench", "--against", name)


@pytest.mark.parametrize("asked", [{"rounds": 0}, {"steps": 0}, {"workers": 0}])
def test_less_than_one_of_anything_is_refused(asked):
    with pytest.raises(InputError, match=f"a number of {next(iter(asked))} of at least 1"):
        run(**asked)


def test_a_worker_that_dies_is_an_error_and_leaves_no_other_behind(monkeypatch):
    script = "import sys; print('{}', flush=True); sys.argv[-1] == '0' and sys.exit(3); sys.stdin.read()"
    monkeypatch.setattr(team, "WORKER", [sys.executable, "-c", script])
    with Team("icl.one-layer/usual", 2, 1) as workers:
        workers.wait_until_ready()
        processes = workers._processes
        processes[0].wait()
        with pytest.raises(EngineError, match="ended with status 3"):
            workers.turn()
        assert processes[1].poll() is None
    assert processes[1].returncode is not None


@pytest.mark.parametrize("command", [["-m", "lemmata.bench.usual_icl"], ["-m", "lemmata.bench.usual_cot"]], ids=str)
def test_a_script_runs_on_its_own(command):
    command = [sys.executable, *command, "--models", "2", "--steps", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "after 3 steps, mean over 2 models" in done.stdout
    assert done.stderr == ""


# What a step costs.


def test_the_cost_of_a_step_is_a_table_and_a_figure(tmp_path, monkeypatch):
    page, image = tmp_path / "page.md", tmp_path / "cost.png"
    page.write_text("before\n<!-- cost -->\n<!-- end of cost -->\nafter")
    monkeypatch.setattr(cost, "measured", lambda config: Pace((2, 4), (1.0, 2.0), 0.1))
    monkeypatch.setattr(cost, "of_training", lambda workload, members, rounds: [100.0 / members] * rounds)
    monkeypatch.setattr(cost, "of_a_step", lambda workload, changes: [9.04 * sum(changes.values()), 1e9, 0.0])
    monkeypatch.setattr(sys, "argv", ["cost", str(page), str(image)])
    cost.main()
    head, _, icl, *others = page.read_text().split("| network")[1].splitlines()
    assert head == " | members: 1, 8, 64, 256, 1024 | length | width |"
    assert icl == (
        "| icl.one-layer | 100, 12, 1.6, 0.4, 0.1 | l_tr = 10, 20, 40, 80: 90, 181, 362, 723 "
        "| m = 100, 200, 400, 800: 904, 1808, 3616, 7232 |"
    )
    assert len([line for line in others if line.startswith("|")]) == len(WORKLOADS) - 1
    assert image.read_bytes()[1:4] == b"PNG"
    page.write_text("no marks")
    with pytest.raises(InputError, match="marks"):
        cost.main()


@pytest.mark.parametrize("name", WORKLOADS)
@pytest.mark.parametrize("axis", ["LENGTH", "WIDTH"])
def test_every_length_and_width_can_be_trained_and_costs_work(name, axis):
    constant, values = getattr(cost, axis)[name]
    base = WORKLOADS[name].config
    assert getattr(base, constant) in values
    work = [base.replace({constant: value}).work() for value in values]
    assert work == sorted(work)


def test_members_are_trained_in_chunks_of_as_many_as_are_chosen(monkeypatch):
    trained = []
    workload = WORKLOADS["graph.one-layer"]
    monkeypatch.setattr(cost, "measured", lambda config: Pace((2, 4), (1.0, 2.0), 0.1))
    monkeypatch.setattr(type(workload.config), "train", lambda self, seeds: trained.append((self.steps, list(seeds))))
    assert len(cost.of_training(workload, 9, steps=7, rounds=2)) == 2
    assert trained == [(7, [0, 1, 2, 3]), (7, [4, 5, 6, 7]), (7, [8])] * 2

"""Where attention goes and when: groups counted example by example, stages, induction heads made by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import textbook_cot
import torch

from lemmata.cot.data import Prompts, draw, task_set
from lemmata.cot.deep import Deep
from lemmata.cot.network import OneLayer, attention
from lemmata.cot.probes import (
    AttentionGroups,
    FinalLoss,
    InductionScores,
    StageTimes,
    copying,
    group_masses,
    probe_prompts,
)
from lemmata.lab.ensemble import Snapshot, fit
from lemmata.lab.grid import Cell, measure

M, K = 6, 3
GROUPS = [("same", "same"), ("same", "different"), ("different", "same"), ("different", "different")]
SEEDS = (3, 8)


@pytest.fixture(scope="module")
def trained():
    """Two networks half way through training."""
    return OneLayer(M=M, d_X=8, B=32, steps=60, lr=1.5).train(SEEDS)


def made_by_hand(key_QD, W_V=None):
    """A network whose scores are W_Q^T W_K = key, with the selector as W_V."""
    Q, D = key_QD.shape
    m = D - Q
    W_Q = torch.eye(D)[:, [*range(m), *range(2 * m, D)]]
    W_K = torch.zeros(D, D)
    W_K[[*range(m), *range(2 * m, D)]] = key_QD
    params = {"W_Q": W_Q, "W_K": W_K, "W_V": torch.eye(D)[m : 2 * m] if W_V is None else W_V}
    config = OneLayer(M=m, d_X=m, K=Q - m, steps=10)
    return Snapshot([config], [0], [0], {n: p[None] for n, p in params.items()}, 10, ["ok"])


def table(member_rows):
    """Rows as a mapping from metric, x and coordinates to the value; no two rows share them."""
    found = {(row.metric, row.x, *sorted(row.at.items())): row.value for row in member_rows}
    assert len(found) == len(member_rows)
    return found


# Prompts to probe with


def test_probe_prompts_are_the_same_for_all_conditions_of_a_seed():
    configs = [OneLayer(M=M, d_X=8), OneLayer(M=M, d_X=9, lr=3.0, tasks="half", B=7, steps=3, delta=0.1, c_tr=0.2)]
    one, other = (probe_prompts(config.replace({"steps": 0}).train([4]), prompts=30) for config in configs)
    deep = probe_prompts(Deep(M=M, d_X=8, K=K, alpha=0.4, width=8, steps=0).train([4]), prompts=30)
    for name in ("step_EBKM", "log_count_EBKM", "path_EBS", "asked_EB"):
        assert torch.equal(getattr(one, name), getattr(other, name))
        assert torch.equal(getattr(one, name), getattr(deep, name))
    assert one.row_EMM is None and other.row_EMM is not None
    # They cover all patterns evenly whatever is trained on, and seeds have their own.
    assert set(other.path_EBS.flatten().tolist()) == set(range(M))
    assert not torch.equal(probe_prompts(configs[0].train([5]), prompts=30).step_EBKM, one.step_EBKM)


def test_probe_prompts_are_as_long_as_asked_or_as_in_training():
    net = OneLayer(M=M, d_X=8, l_tr=7, alpha=0.9, steps=0).train(SEEDS)
    for prompts, l in ((probe_prompts(net, prompts=2000), 7), (probe_prompts(net, prompts=2000, l=11, alpha=0.2), 11)):
        count_EBKM = prompts.count_EBKM.round()
        own_EB = (prompts.asked_EB > 0).float()
        assert torch.equal(count_EBKM[:, :, 0].sum(-1), l + own_EB)
        at_start_EB = count_EBKM[:, :, 0].gather(2, prompts.path_EBS[..., :1]).squeeze(-1) - own_EB
        # A share of 4000 prompts of l examples each, up to four standard deviations.
        alpha = 0.9 if l == 7 else 0.2
        assert float(at_start_EB.mean()) / l == pytest.approx(alpha, abs=4 * (alpha * (1 - alpha) / 4000 / l) ** 0.5)


# Groups


@pytest.mark.parametrize("name", ["shifts", "permutations"])
def test_the_groups_are_those_of_the_textbooks_attention_example_by_example(trained, name):
    tasks = task_set(name, M, K, np.random.default_rng(1))
    members = [draw(np.random.default_rng(e), 40, 8, alpha=0.4, tasks=tasks) for e in range(2)]
    prompts = Prompts.stack(members)
    mass_EG = group_masses(OneLayer.attentions(trained.params, prompts), prompts)[:, 0, 0]
    for e in range(2):
        net = textbook_cot.member(trained.params, e, d_X=M, delta=0.2)
        expected = dict.fromkeys(GROUPS, 0.0)
        for prompt in textbook_cot.drawn(np.random.default_rng(e), 40, 8, alpha=0.4, tasks=tasks):
            attn = textbook_cot.attention(net, prompt.columns(torch.eye(M, dtype=torch.float64))).tolist()
            starts = [start for start in prompt.starts for _ in range(K)] + [prompt.z_0] * prompt.asked
            for (k, _, _), start, a in zip(prompt.moves(), starts, attn, strict=True):
                pattern, step = ("same" if same else "different" for same in (start == prompt.z_0, k == prompt.asked))
                expected[pattern, step] += a / 40
        assert mass_EG[e].tolist() == pytest.approx([expected[of] for of in GROUPS], abs=1e-5)
        assert float(mass_EG[e].sum()) == pytest.approx(1, abs=1e-5)


def test_groups_keep_layers_and_heads_apart():
    rng = np.random.default_rng(0)
    prompts = Prompts.stack(
        [draw(rng, 9, 5, alpha=0.5, tasks=task_set("shifts", M, K, rng)) for _ in range(2)],
    )
    attn = torch.from_numpy(rng.random((2, 3, 2, 9, K, M)))
    attn = attn * (prompts.count_EBKM > 0)[:, None, None]
    mass_ENHG = group_masses(attn, prompts)
    for n in range(3):
        for h in range(2):
            torch.testing.assert_close(
                mass_ENHG[:, n, h], group_masses(attn[:, n : n + 1, h : h + 1], prompts)[:, 0, 0], rtol=1e-12, atol=0
            )
    torch.testing.assert_close(mass_ENHG.sum(-1), attn.sum((-1, -2)).mean(-1), rtol=1e-12, atol=0)


def test_groups_are_looked_at_every_few_steps_in_every_layer_and_head(trained):
    m = AttentionGroups(every=25, l=9, alpha=0.6, prompts=70)
    assert m.steps(OneLayer(steps=60)) == [0, 25, 50, 60]
    prompts = probe_prompts(trained, prompts=70, l=9, alpha=0.6)
    mass_EG = group_masses(OneLayer.attentions(trained.params, prompts), prompts)[:, 0, 0]
    for e, rows in enumerate(m.observe(trained, {})):
        found = table(rows)
        assert len(found) == 4
        for (pattern, step), mass in zip(GROUPS, mass_EG[e].tolist(), strict=True):
            at = ("head", 1), ("layer", 1), ("pattern", pattern), ("step", step)
            assert found["attention", 60, *at] == pytest.approx(mass)
    deep = Deep(M=M, d_X=6, K=2, width=8, steps=2, B=4).train(SEEDS)
    prompts = probe_prompts(deep, prompts=70, l=9, alpha=0.6)
    mass_ENHG = group_masses(Deep.attentions(deep.params, prompts), prompts)
    for e, rows in enumerate(m.observe(deep, {})):
        for row in rows:
            n, h = int(row.at["layer"]) - 1, int(row.at["head"]) - 1
            g = GROUPS.index((str(row.at["pattern"]), str(row.at["step"])))
            assert (row.metric, row.x) == ("attention", 2) and row.value == pytest.approx(float(mass_ENHG[e, n, h, g]))
        assert len(table(rows)) == 3 * 2 * 4


# Stages


def test_stages_end_between_the_last_look_before_and_the_first_after():
    configs = [OneLayer(M=M, d_X=6, B=32, steps=60, lr=lr) for lr in (4.0, 2.0, 0.02)]
    m = StageTimes(every=8, off_step=0.2, eps=(0.25, 0.12), prompts=300)
    results, _ = measure([Cell(config, 1, (m,)) for config in configs])
    looks = [*range(0, 60, 8), 60]
    for config, result in zip(configs, results, strict=True):
        watched = {("position", None): [], ("loss", 0.25): [], ("loss", 0.12): []}
        for step in looks:
            net = config.replace({"steps": step}).train([1])
            prompts = probe_prompts(net, prompts=300)
            mass_G = group_masses(OneLayer.attentions(net.params, prompts), prompts)[0, 0, 0]
            watched["position", None].append(float(mass_G[1] + mass_G[3]) < 0.2)
            for eps in m.eps:
                watched["loss", eps].append(float(OneLayer.loss(net.params, prompts)) < eps)
        found = {(row.metric, row.at["stage"], row.at.get("eps")): row.value for row in result.rows}
        assert len(found) == len(result.rows) == 6
        for of, passed in watched.items():
            first = passed.index(True) if any(passed) else None
            lo, hi = (60, math.inf) if first is None else (looks[max(first - 1, 0)], looks[first])
            assert (found["steps_lo", *of], found["steps_hi", *of]) == (lo, hi)
    # The fastest passes all, and the slowest none.
    ends = [{row.value for row in result.rows if row.metric == "steps_hi"} for result in results]
    assert math.inf not in ends[0] and ends[2] == {math.inf} and len(ends[0]) > 1


def test_a_member_that_has_passed_everything_leaves_and_the_others_go_on_as_they_would():
    m = StageTimes(every=5, off_step=0.25, eps=(0.2,), prompts=200)
    configs = [OneLayer(M=20, B=32, steps=100, lr=lr) for lr in (5.0, 0.02, 2.0)]
    together, end = measure([Cell(config, e, (m,)) for e, config in enumerate(configs)])
    for e, config in enumerate(configs):
        (alone,), _ = measure([Cell(config, e, (m,))])
        assert alone.rows == together[e].rows
    last = [max(row.value for row in result.rows if row.metric == "steps_hi") for result in together]
    assert last[0] < last[2] < 100 < last[1] == math.inf
    assert end.step == 100
    # Its weights are those of when it left.
    left = configs[0].replace({"steps": int(last[0])}).train([0])
    assert torch.equal(left.params["W_K"][0], end.params["W_K"][0])


# Induction heads


def induction_key(strength, *, gate=0.0):
    """Scores of a head that matches a column's own x with the query's pattern, and its step with the query's."""
    key_QD = torch.zeros(M + K, 2 * M + K)
    key_QD[:M, :M] = strength * torch.eye(M)
    key_QD[M:, 2 * M :] = gate * torch.eye(K)
    return key_QD


def scores(net, **changes):
    m = replace(InductionScores(prompts=400, l=40, alpha=0.2), **changes)
    found = {row.metric: row.value for row in m.observe(net, {})[0]}
    assert set(found) == {"prefix_matching", "step_gate", "copying"}
    return found


def test_a_head_that_knows_no_steps_is_an_induction_head():
    found = scores(made_by_hand(induction_key(20.0)), prompts=4000)
    assert found["prefix_matching"] == pytest.approx(1, abs=1e-6) and found["copying"] == pytest.approx(1)
    # Prompts with more matching columns have less attention for each, which leaves half a percent.
    assert found["step_gate"] == pytest.approx(1, abs=0.02)


def test_a_head_that_knows_steps_gates_them():
    # Equally many columns match in every step but for chance, so that the attention of one is e^gate that of another.
    found = scores(made_by_hand(induction_key(20.0, gate=1.5)), prompts=4000, l=2000)
    assert found["step_gate"] == pytest.approx(math.exp(1.5), rel=0.05)
    blind = scores(made_by_hand(induction_key(0.0, gate=0.0)), l=1000)
    # Without matching, a pattern's share: alpha of those that take the query's path, about 1 / M of the others'.
    assert blind["step_gate"] == pytest.approx(1, abs=1e-3) and 0.15 < blind["prefix_matching"] < 0.3


def test_induction_scores_are_those_of_columns_counted_one_by_one(trained):
    m = InductionScores(every=25, l=6, alpha=0.3, prompts=30)
    assert m.steps(OneLayer(steps=60)) == [0, 25, 50, 60]
    prompts = probe_prompts(trained, prompts=30, l=6, alpha=0.3)
    attn_EBKM, count_EBKM = attention(trained.params, prompts), prompts.count_EBKM
    for e, rows in enumerate(m.observe(trained, {})):
        mass, inside, outside = 0.0, [0.0, 0.0], [0.0, 0.0]
        for b in range(30):
            pattern, asked = int(prompts.query_EB[e, b]), int(prompts.asked_EB[e, b])
            for k in range(K):
                a, n = float(attn_EBKM[e, b, k, pattern]), round(float(count_EBKM[e, b, k, pattern]))
                mass += a / 30
                group = inside if k == asked else outside
                group[0] += a
                group[1] += n
        found = table(rows)
        assert found["prefix_matching", 60] == pytest.approx(mass, rel=1e-4)
        assert found["step_gate", 60] == pytest.approx((inside[0] / inside[1]) / (outside[0] / outside[1]), rel=1e-4)
        assert found["copying", 60] == pytest.approx(1)


def test_copying_is_1_of_what_copies_and_less_of_what_does_not():
    selector = torch.eye(2 * M + K)[M : 2 * M]
    first_after_last = torch.eye(M).roll(1, 0)
    block = torch.diag(torch.tensor([2.0, 1.0, 1.0, -1.0, -0.5, -0.5]))
    values = [selector, -selector, selector.clone(), selector.clone(), selector.clone()]
    values[2][:, M : 2 * M] = first_after_last
    values[3][:, M : 2 * M] = block
    # What it does with x and the codes is not asked.
    values[4][:, :M] = -3 * torch.eye(M)
    found = copying(torch.stack(values)).tolist()
    assert found == pytest.approx([1, -1, 0, (4 - 2) / 6, 1], abs=1e-5)


def test_copying_of_a_diverged_member_is_no_number_and_leaves_the_others():
    values = torch.stack([torch.eye(2 * M + K)[M : 2 * M], torch.full((M, 2 * M + K), math.nan)])
    whole, lost = copying(values).tolist()
    assert whole == pytest.approx(1) and math.isnan(lost)


# Losses


def test_the_final_loss_is_that_of_fresh_prompts_of_either_length():
    configs = [OneLayer(M=M, d_X=6, B=16, steps=40, lr=1.5, alpha=alpha, l_tr=l) for alpha, l in ((0.4, 5), (0.7, 9))]
    net = fit(configs, SEEDS)
    m = FinalLoss(long=6.0, prompts=150)
    assert m.steps(configs[0]) == (40,)
    for e, rows in enumerate(m.observe(net, {})):
        found = table(rows)
        assert len(found) == 2
        alone = configs[e].train([SEEDS[e]])
        for on, l in (("own", configs[e].l_tr), ("long", (15, 9)[e])):
            prompts = probe_prompts(alone, prompts=150, l=l)
            assert torch.equal(prompts.count_EBKM[0, :, -1].sum(-1).round(), torch.full((150,), float(l)))
            loss = float(OneLayer.loss(alone.params, prompts)[0])
            assert found["loss", 40, ("on", on)] == pytest.approx(loss, rel=1e-5)
    assert found["loss", 40, ("on", "own")] != pytest.approx(found["loss", 40, ("on", "long")], rel=1e-3) or l == 9

"""Samples without a gradient are left out: the networks are the same, and to the bit in whatever company."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from lemmata import editing, graph, icl, vision
from lemmata.icl.gpt import SmallGPT
from lemmata.lab import ensemble
from lemmata.lab.ensemble import Params, Snapshot, fit
from lemmata.lab.sparing import LEAST, Sparing, share_needed
from lemmata.lab.trainee import Trainee

NETWORKS: dict[str, Trainee] = {
    "icl": icl.OneLayer(steps=300, B=80, m=24, M2=8, l_tr=10),
    "icl-rotated": icl.OneLayer(steps=300, B=80, m=24, M2=8, l_tr=10, tasks="all", sampler="exact", alpha=0.6),
    "icl-lengths": icl.OneLayer(steps=300, B=80, m=24, M2=8, l_tr=10, l_min=4),
    "editing": editing.OneLayer(steps=150, m=16),
    "editing-tokens": editing.OneLayer(steps=60, m=16, tau=0.05),
    "vision": vision.OneLayer(steps=300, m=16),
    "vision-tokens": vision.OneLayer(steps=150, m=16, L=30, tau=0.05, tokens=True),
    "graph": graph.OneLayer(steps=400, m=16, N=200, tested=50, labelled=20, B=4, lr=1.0),
}


class Count:
    """How many samples were computed with gradients of how many, and in how many steps with none at all."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shares: list[Tensor] = []
        self.skipped = 0
        whole = Sparing._gradients

        def gradients(step: Sparing, params: Params, draws: Any, spare_E: Tensor) -> Any:
            parts, loss_E, share_E = whole(step, params, draws, spare_E)
            self.shares.append(share_E)
            self.skipped += not parts
            return parts, loss_E, share_E

        monkeypatch.setattr(Sparing, "_gradients", gradients)


def dense(*step: Any) -> Any:
    """The step as it was given, with nothing spared."""
    return lambda params, state, draws: step[2](params, state, draws)[:2]


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_is_lost_by_leaving_out_what_is_flat(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config, count = NETWORKS[name], Count(monkeypatch)
    spared = config.train(range(3))
    monkeypatch.setattr(ensemble, "Sparing", dense)
    usual = config.train(range(3))
    assert len(count.shares) > 10, "nothing was spared"
    for key, p in usual.params.items():
        torch.testing.assert_close(spared.params[key], p, rtol=1e-4, atol=1e-5)
    assert spared.status == usual.status


def test_adam_goes_on_where_there_is_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    config = SmallGPT(steps=500, B=2, l_tr=6, l_min=0, M1=4, M2=2, width=16, n_layer=1, lr=0.005, alpha=1.0)
    count = Count(monkeypatch)
    spared = config.train([1])
    monkeypatch.setattr(ensemble, "Sparing", dense)
    usual = config.train([1])
    assert count.skipped > 10
    for key, p in usual.params.items():
        torch.testing.assert_close(spared.params[key], p, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_a_member_is_spared_does_not_depend_on_its_company(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    count = Count(monkeypatch)
    configs = [NETWORKS[name].replace({"lr": lr}) for lr in (0.5, 0.05, 1.0, 0.2)]
    together = fit(configs, range(4))
    assert len({tuple((share_E < 1).tolist()) for share_E in count.shares}) > 1, "all are spared the same"
    for i, config in enumerate(configs):
        alone = fit([config], [i])
        assert all(torch.equal(p[0], together.params[key][i]) for key, p in alone.params.items())


def test_what_a_member_is_spared_does_not_depend_on_who_has_left() -> None:
    configs = [NETWORKS["icl"].replace({"lr": lr}) for lr in (0.5, 0.3, 1.0)]
    at = [300, 120, 200]

    def leave(snapshot: Snapshot) -> Sequence[bool]:
        return [snapshot.step >= at[member] for member in snapshot.members]

    together = fit(configs, range(3), watch=leave, watch_steps=at)
    for i, config in enumerate(configs):
        alone = fit([config.replace({"steps": at[i]})], [i])
        assert all(torch.equal(p[0], together.params[key][i]) for key, p in alone.params.items())


def test_the_share_that_is_needed() -> None:
    B = 10 * LEAST
    gap_EB = torch.full((7, B), -1.0)
    for e, near in enumerate((0, 1, LEAST, LEAST + 1, 4 * LEAST, 4 * LEAST + 1)):
        gap_EB[e, B - near :] = 0.5
    gap_EB[6, 3:5] = torch.tensor([float("nan"), -float("inf")])
    assert share_needed(gap_EB).tolist() == pytest.approx([0, 0.1, 0.1, 0.2, 0.4, 1, 0.1])
    # A sample is needed if one of its hinges is.
    gap_ETB = torch.full((1, 2, B), -1.0)
    gap_ETB[0, 0, : LEAST - 1] = gap_ETB[0, 1, 5 : LEAST + 2] = 0.5
    assert share_needed(gap_ETB).tolist() == pytest.approx([0.2])
    # Of a small batch it is all or nothing; and what is exactly 0 has no gradient.
    assert share_needed(torch.tensor([[0.0] * 20, [0.0] * 19 + [1e-9]])).tolist() == [0, 1]

"""What is measured inside a network: where the query's attention goes, and when.

    symbol         meaning                                                                       shape
    attn_ENHBKM    attention of the query on all columns of step k that start from pattern i,    (E, N, H, B, K, M)
                   in layer n and head h; one of each in the one-layer network
    same pattern   columns of an example that starts where the query does (and so takes its path)
    same step      columns of the step that the query asks for

Groups are counted by the example, as in the published figures: a column belongs to the query's pattern if its example
starts there, whatever the column itself holds. An induction head, which the reviewers asked about, is told by the
column itself: it attends to what followed the current token wherever that occurred (Olsson et al., arXiv 2209.11895).

Theorem 4 and figures of Li et al. (ICLR 2025, arXiv 2410.02167).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from lemmata.cot.data import Prompts, draw, task_set
from lemmata.lab.ensemble import Snapshot
from lemmata.lab.measures import FirstPassage, Repeated, Watched, joined, rows
from lemmata.lab.streams import stream
from lemmata.lab.trainee import Measure, Row

__all__ = ["AttentionGroups", "FinalLoss", "InductionScores", "StageTimes", "copying", "group_masses", "probe_prompts"]

# The four groups, in the order of `group_masses`: by pattern, then by step.
GROUPS = (("same", "same"), ("same", "different"), ("different", "same"), ("different", "different"))


def probe_prompts(snapshot: Snapshot, *, prompts: int, l: int = 0, alpha: float = 0.0) -> Prompts:
    """Prompts without errors or noise for every member, on tasks of independent uniform shifts.

    They are the same for all conditions under one seed. Without l and alpha, as long as in training, with its alpha.
    """
    members = []
    for config, seed in zip(snapshot.configs, snapshot.seeds, strict=True):
        rng = stream("cot.probe", config.M, config.K, l or config.l_tr, prompts, seed)
        tasks = task_set("shifts", config.M, config.K, rng)
        members.append(
            draw(rng, prompts, l or config.l_tr, alpha=alpha or config.alpha, tasks=tasks, correlation=config.c_tr)
        )
    return Prompts.stack(members).to(snapshot.device)


def group_masses(attn_ENHBKM: Tensor, prompts: Prompts) -> Tensor:
    """Attention on the four groups of `GROUPS`, averaged over prompts: mass_ENHG.

    >>> from lemmata import cot
    >>> net = cot.OneLayer(steps=0, delta=0.0).train()
    >>> prompts = probe_prompts(net, prompts=4000)
    >>> mass = group_masses(cot.OneLayer.attentions(net.params, prompts), prompts)
    >>> [round(m, 1) for m in mass.flatten().tolist()]
    [0.1, 0.3, 0.2, 0.4]
    """
    E, N, H, B, K, _ = attn_ENHBKM.shape
    asked_B = prompts.asked_EB.view(E, 1, 1, B, 1)
    own_EBK1 = prompts.path_EBS[..., :-1].unsqueeze(-1)
    step_ENHBK = attn_ENHBKM.sum(-1)
    own_ENHBK = attn_ENHBKM.gather(-1, own_EBK1.view(E, 1, 1, B, K, 1).expand(E, N, H, B, K, 1)).squeeze(-1)
    asked_ENHB1 = asked_B.expand(E, N, H, B, 1)
    same_step = step_ENHBK.gather(-1, asked_ENHB1).squeeze(-1)
    both = own_ENHBK.gather(-1, asked_ENHB1).squeeze(-1)
    same_pattern, every = own_ENHBK.sum(-1), step_ENHBK.sum(-1)
    groups = [both, same_pattern - both, same_step - both, every - same_pattern - same_step + both]
    return torch.stack([mass.mean(-1) for mass in groups], -1)


@final
@dataclass(frozen=True, kw_only=True)
class AttentionGroups(Repeated):
    """Attention mass on the four groups of columns, every few steps, in every layer and head."""

    name: ClassVar[str] = "attention-groups"

    l: int = 20
    alpha: float = 0.4
    prompts: int = 512

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """Rows "attention" at x = step, with the coordinates layer and head, counted from 1, and pattern and step."""
        prompts = probe_prompts(snapshot, prompts=self.prompts, l=self.l, alpha=self.alpha)
        with torch.no_grad():
            mass_ENHG = group_masses(snapshot.configs[0].attentions(snapshot.params, prompts), prompts)
        _, N, H, _ = mass_ENHG.shape
        return joined(
            [
                rows("attention", snapshot.step, mass_ENHG[:, n, h, g], self._at(n, h, pattern, step))
                for n in range(N)
                for h in range(H)
                for g, (pattern, step) in enumerate(GROUPS)
            ]
        )

    @staticmethod
    def _at(n: int, h: int, pattern: str, step: str) -> dict[str, int | str]:
        return {"layer": n + 1, "head": h + 1, "pattern": pattern, "step": step}


@final
@dataclass(frozen=True, kw_only=True)
class StageTimes(FirstPassage):
    """When the position stage ends, and when the loss has fallen to each of some bounds.

    The position stage ends when the query has no more than `off_step` of its attention on columns of other steps. The
    loss is that of fresh prompts like those of training.
    """

    name: ClassVar[str] = "stage-times"

    off_step: float = 0.1
    eps: tuple[float, ...] = (0.02,)
    prompts: int = 1024

    def watched(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[Watched]:
        """Attention on other steps (stage "position"), and the loss (stage "loss", with its bound eps)."""
        members = tuple(snapshot.members)
        if memory.get("members") != members:
            memory |= {"members": members, "prompts": probe_prompts(snapshot, prompts=self.prompts)}
        prompts = memory["prompts"]
        network = snapshot.configs[0]
        with torch.no_grad():
            mass_EG = group_masses(network.attentions(snapshot.params, prompts), prompts)[:, 0, 0]
            loss_E = network.loss(snapshot.params, prompts)
        position = Watched(mass_EG[:, 1] + mass_EG[:, 3], self.off_step, {"stage": "position"})
        return [position, *(Watched(loss_E, eps, {"stage": "loss", "eps": eps}) for eps in self.eps)]


def copying(value_EMC: Tensor) -> Tensor:
    """How far W_V copies what it attends to (E,): 1 if all eigenvalues of its block from y to the output are positive.

    Their sum over the sum of their absolute values, nan where a member diverged (Elhage et al., A Mathematical
    Framework, 2021).

    >>> copying(torch.eye(15)[None, 6:12]).tolist()
    [1.0]
    """
    M = value_EMC.shape[1]
    block_EMM = value_EMC[..., M : 2 * M]
    # LAPACK ends the process on numbers that are none.
    eigenvalue_EM = torch.linalg.eigvals(block_EMM.nan_to_num(0.0, 0.0, 0.0))
    copied_E = eigenvalue_EM.real.sum(-1) / eigenvalue_EM.abs().sum(-1)
    return copied_E.where(block_EMM.isfinite().all(-1).all(-1), torch.nan)


@final
@dataclass(frozen=True, kw_only=True)
class InductionScores(Repeated):
    """The one-layer network read as an induction head, every few steps.

    A column matches where its own x is the query's current pattern, whatever its step: what an induction head attends
    to. "prefix_matching" is the attention on all such columns. "step_gate" is how much more an average such column gets
    where it is of the query's step than where it is not: about 1 for an induction head, which knows no steps. For
    "copying" see `copying`.
    """

    name: ClassVar[str] = "induction-scores"

    every: int = 20
    l: int = 60
    alpha: float = 0.1
    prompts: int = 512

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """Rows "prefix_matching", "step_gate" and "copying" at x = step."""
        prompts = probe_prompts(snapshot, prompts=self.prompts, l=self.l, alpha=self.alpha)
        with torch.no_grad():
            attn_EBKM = snapshot.configs[0].attentions(snapshot.params, prompts)[:, 0, 0]
        E, B, K, _ = attn_EBKM.shape
        matching = prompts.query_EB.view(E, B, 1, 1).expand(E, B, K, 1)
        mass_EBK = attn_EBKM.gather(3, matching).squeeze(3)
        count_EBK = prompts.count_EBKM.gather(3, matching).squeeze(3)
        of_step_EBK = torch.zeros_like(mass_EBK).scatter_(2, prompts.asked_EB.unsqueeze(2), 1.0)
        inside, outside = (
            (mass_EBK * part).sum((1, 2)) / (count_EBK * part).sum((1, 2)) for part in (of_step_EBK, 1 - of_step_EBK)
        )
        return joined(
            [
                rows("prefix_matching", snapshot.step, mass_EBK.sum(2).mean(1)),
                rows("step_gate", snapshot.step, inside / outside),
                rows("copying", snapshot.step, copying(snapshot.params["W_V"])),
            ]
        )


@final
@dataclass(frozen=True, kw_only=True)
class FinalLoss(Measure):
    """The loss after training, on fresh prompts of the training length ("own") and on ones of `long` / alpha examples.

    Both have the training prompts' alpha.
    """

    name: ClassVar[str] = "final-loss"

    long: float = 12.0
    prompts: int = 2048

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """Rows "loss" at x = steps, with the coordinate `on`: "own" or "long"."""
        found: list[list[Row]] = []
        for e in range(len(snapshot.members)):
            one = snapshot.take([e])
            (config,) = one.configs
            lengths = {"own": config.l_tr, "long": round(self.long / config.alpha)}
            with torch.no_grad():
                losses = {
                    on: float(config.loss(one.params, probe_prompts(one, prompts=self.prompts, l=l)))
                    for on, l in lengths.items()
                }
            found.append([Row("loss", snapshot.step, value, {"on": on}) for on, value in losses.items()])
        return found

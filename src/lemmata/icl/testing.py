"""Test prompts, in-domain and out-of-domain, and the errors of a trained network on them.

Test prompts are a function of the seed and of what the network was trained on only through its pattern counts, so two
networks under one seed answer the same prompts, and so do the lengths, alpha' and S_1 of one measure: differences between
them are differences of the networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import numpy as np
import torch
from torch import Tensor

from lemmata.icl.data import Prompts, Shift, draw, stack, task_set, unseen
from lemmata.icl.prompting import Prompting
from lemmata.lab.ensemble import Snapshot
from lemmata.lab.losses import error, hinge
from lemmata.lab.streams import stream
from lemmata.lab.trainee import Measure, Row

__all__ = ["ErrorCurve", "outputs", "test_prompts"]

Tasks = Literal["unseen", "trained", "all"]
test_prompts_doc = None


def test_prompts(
    config: Prompting, seed: int, *, count: int, l: int, alpha: float, tasks: Tasks = "all", S_1: float | None = None  # noqa: E741
) -> Prompts:
    """Test prompts of one member; with an S_1 out of domain, on patterns drawn anew for the seed (M1' = 3)."""
    shift = None if S_1 is None else Shift(config.M1, config.M2, S_1)
    M1 = config.M1 if shift is None else shift.M1_test
    which = {"unseen": unseen(config.tasks, config.M1), "trained": task_set(config.tasks, config.M1)}
    prompts = draw(
        stream("icl.test", "in" if shift is None else "out", M1, config.M2, l, tasks, seed),
        count,
        l,
        alpha=alpha,
        kappa=config.kappa,
        beta=config.beta,
        tasks=task_set("all", M1) if shift is not None or tasks == "all" else which[tasks],
        M1=M1,
        M2=config.M2,
    )
    if shift is None:
        return prompts
    axis_VD = shift.axes(stream("icl.test.patterns", config.M1, config.M2, seed))
    return Prompts(prompts.index_EB3L, prompts.coef_EB3L, prompts.target_EB, axis_VD[None])


def ensemble_prompts(snapshot: Snapshot, **what: Any) -> Prompts:
    return stack([test_prompts(c, s, **what) for c, s in zip(snapshot.configs, snapshot.seeds, strict=True)])

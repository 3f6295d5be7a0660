"""The weights of a stored cell: its network, trained once more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any, ClassVar, final

import torch
from safetensors.torch import save

from lemmata.lab.claim import Paper
from lemmata.lab.engine import check_device
from lemmata.lab.ensemble import Snapshot
from lemmata.lab.grid import Cell, measure
from lemmata.lab.trainee import Measure, Row

__all__ = ["weights"]


@final
@dataclass(frozen=True, kw_only=True)
class _Keep(Measure):
    """Keeps the network whenever the others may look at it, and leaves it to them when it ends.

    A cell's network may stop before its last step, once all its measures are done with it.
    """

    name: ClassVar[str] = "keep"
    others: tuple[Measure, ...]
    kept: list[Snapshot] = field(default_factory=list)

    def steps(self, config: Any) -> list[int]:
        ends = accumulate(phase.steps for phase in config.phases())
        return [0, *ends, *(step for m in self.others for step in m.steps(config))]

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        self.kept[:] = [snapshot]
        return [[] for _ in snapshot.members]

    def finished(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[bool]:
        return [True for _ in snapshot.members]


def weights(cell: Cell, paper: Paper, *, device: str = "cpu", compile: bool = False) -> bytes:
    """A safetensors file of the parameters that the cell's network ended with.

    Its metadata, all text: `cell`, `spec` (JSON: constants, seed, measures), `steps` that it was
    trained for, `status` (ok, diverged or dead) and `citation` (BibTeX).

    Raises:
        DeviceError: the device is not there.
    """
    check_device(device)
    keep = _Keep(others=cell.measures)
    watched = replace(cell, measures=(*cell.measures, keep))
    with _one_thread():
        result = measure([watched], device=device, compile=compile)[0]
    end = keep.kept[0]
    metadata = {
        "cell": cell.id,
        "spec": json.dumps(cell.spec),
        "steps": str(end.step),
        "status": result.status,
        "citation": next(iter(paper.bibliography.values())),
    }
    tensors = {name: p_E[0].contiguous().cpu() for name, p_E in end.params.items()}
    return save(tensors, metadata)


@contextmanager
def _one_thread() -> Iterator[None]:
    """As in a worker: more threads would add in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

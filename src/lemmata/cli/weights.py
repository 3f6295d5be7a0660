"""The weights of a stored cell: its network, trained once more."""

from __future__ import annotations

import json

from safetensors.torch import save

from lemmata.lab.claim import Paper
from lemmata.lab.grid import Cell, measure
from lemmata.lab.work import check_device

__all__ = ["weights"]


def weights(cell: Cell, paper: Paper, *, device: str = "cpu", compile: bool = False) -> bytes:
    """A safetensors file of the parameters that the cell's network ended with.

    Its metadata, all text: `cell`, `spec` (JSON: constants, seed, measures), `steps` that it was
    trained for, `status` (ok, diverged or dead) and `citation` (BibTeX).

    Raises:
        DeviceError: the device is not there.
    """
    check_device(device)
    results, end = measure([cell], device=device, compile=compile)
    metadata = {
        "cell": cell.id,
        "spec": json.dumps(cell.spec),
        "steps": str(end.step),
        "status": results[0].status,
        "citation": next(iter(paper.bibliography.values())),
    }
    tensors = {name: p_E[0].contiguous().cpu() for name, p_E in end.params.items()}
    return save(tensors, metadata)

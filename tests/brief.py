"""All conditions of --quick, for a moment each: what lets a test check a whole paper in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace

import pytest

from lemmata.lab.grid import Cell, Experiment

STEPS, SEEDS, PROMPTS = 12, 2, 32


def brief(cell: Cell, most: int) -> Cell:
    """The same cell, trained for so many steps at most and tested on a few prompts or samples."""
    few = [{f.name: PROMPTS for f in fields(m) if f.name in ("prompts", "samples")} for m in cell.measures]
    measures = [replace(m, **changes) for m, changes in zip(cell.measures, few, strict=True)]
    steps = min(most, cell.config.steps)
    return Cell(cell.config.replace({"steps": steps}), cell.seed, tuple(measures))


@contextmanager
def briefly(most: int = STEPS) -> Iterator[pytest.MonkeyPatch]:
    """Every experiment is brief, whatever profile is asked for: `most` training steps."""
    as_registered = Experiment.cells

    def cells(self, profile, *, seeds=None, changes=None, setting=None):
        asked = as_registered(self, "quick", seeds=seeds, changes=changes, setting=setting)
        return [brief(cell, most) for cell in asked if cell.seed < SEEDS]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Experiment, "cells", cells)
        yield patch

"""All conditions of --quick, for a moment each: what lets a test check a whole paper in seconds.

And what is asked of the outcome, whatever it says.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace

import pytest

from lemmata.lab.check import Result
from lemmata.lab.errors import DataError
from lemmata.lab.grid import Cell, Experiment
from lemmata.lab.rule import Verdict
from lemmata.show.draw import figure

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


def assert_judged_and_drawn(result: Result) -> None:
    """Every prediction has an estimate and a verdict, and the figure has something in every panel."""
    assert len(result.verdicts) == len(result.claim.predictions)
    for judged in result.verdicts:
        assert judged.verdict is not Verdict.NOT_RUN and judged.estimate is not None, judged.reason
    panels = result.figure.panels
    assert panels and all(panel.marks for panel in panels) and result.figure.caption.endswith(".")
    figure(result)


def assert_judged_with_reasons(result: Result) -> None:
    """With changed constants a prediction has an estimate or says what it lacks; and so has the figure."""
    for judged in result.verdicts:
        assert not judged.registered
        assert judged.estimate is not None or (judged.verdict is Verdict.UNDECIDED and "expected" in judged.reason)
    try:
        figure(result)
    except DataError as error:  # nothing that the figure shows is left
        assert error.fix

"""Verdicts, plans and lists: a table in a terminal, plain lines in a file or a pipe."""

from dataclasses import replace
from io import StringIO

import pytest
import showcase
from rich.console import Console

from lemmata.lab.chunks import Choice
from lemmata.lab.sweep import Plan
from lemmata.show.terminal import claim_table, plan_table, terminal, verdict_table

RESULTS = [showcase.result(), showcase.not_run()]


def printed(listing, *, width=None):
    """What arrives in a terminal of this width; without one, in a pipe."""
    console = terminal()
    console.file = StringIO()
    if width is not None:
        console = Console(file=StringIO(), force_terminal=True, width=width, no_color=True)
    console.print(listing)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_verdicts_in_a_pipe_are_lines_of_aligned_columns():
    lines = printed(verdict_table(RESULTS)).splitlines()
    assert lines[0].split("  ")[0] == "prediction"
    start = lines[0].index("verdict")
    assert [line[start:].split("  ")[0] for line in lines[1:5]] == [
        "CONFIRMED", "REFUTED", "REFUTED", "NOT RUN"
    ]  # fmt: skip
    assert lines[5:] == [
        "",
        "4 predictions: 1 CONFIRMED, 2 REFUTED, 1 NOT RUN",
        "toy.data/transfers: needs the data folder nowhere: pass --data DIR",
    ]
    assert not any(line.endswith(" ") for line in lines)


def test_estimate_and_interval_are_those_of_the_verdict():
    estimate = RESULTS[0].verdicts[0].estimate
    assert estimate is not None
    line = printed(verdict_table(RESULTS)).splitlines()[1]
    assert f"{estimate.value:.4f}    [{estimate.lo:.4f}, {estimate.hi:.4f}]" in line


def test_no_line_is_cut_or_folded_in_a_pipe(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    lines = printed(claim_table([showcase.PAPER])).splitlines()
    assert len(lines) == 4
    assert lines[2].endswith("Theorem 1, slide 9")


@pytest.mark.parametrize("width", [100, 140])
def test_a_terminal_keeps_ids_and_verdicts_whole(width):
    text = printed(verdict_table(RESULTS), width=width)
    assert "toy.lengths/small" in text and "CONFIRMED" in text and "transfers" in text


def test_changed_constants_are_told():
    listing = verdict_table([showcase.result(changes={"m": 64, "alpha": 0.5})])
    assert "not the registered constants: m=64, alpha=0.5" in printed(listing)


def test_nothing_to_judge():
    assert "nothing to judge" in printed(verdict_table([]))


def test_a_plan_says_what_is_there_what_is_missing_and_how_long_it_takes():
    plan = Plan(1200, 200, 125, minutes=12.4, workers=2, chunk_size=8)
    rows = [
        {"id": "toy.lengths", "cells": 1200, "stored": 200, "missing": []},
        {"id": "toy.data", "cells": 0, "stored": 0, "missing": ["needs data", "needs peft"]},
    ]
    text = printed(plan_table(plan, rows))
    assert "toy.data     0      0       needs data; needs peft" in text
    assert text.splitlines()[-1] == (
        "1\N{NARROW NO-BREAK SPACE}200 cells in all, 200 stored; "
        "1\N{NARROW NO-BREAK SPACE}000 cells to train, in 125 chunks of up to 8 networks: "
        "about 12 minutes on 2 workers"
    )


def test_a_plan_says_how_many_train_together_and_why():
    one = Choice("toy", {"m": 64}, 20, 16, compile=False, seconds=9, source="measured")
    others = [replace(one, constants={"m": m}, source="similar") for m in (65, 66)]
    choices = (one, *others, replace(one, kind="deep", together=2, compile=True), replace(one, source="usual"))
    text = printed(plan_table(Plan(60, 0, 5, minutes=1, workers=2, chunk_size=16, choices=choices), []))
    assert text.splitlines()[-4:] == [
        "toy: up to 16 together (1 shape, measured)",
        "toy: up to 16 together (2 shapes, as a similar one that was measured)",
        "deep: up to 2 together, compiled (1 shape, measured)",
        "toy: up to 16 together (1 shape, not measured)",
    ]


def test_a_plan_with_nothing_to_train():
    plan = Plan(3, 3, 0, minutes=0, workers=2, chunk_size=8)
    text = printed(plan_table(plan, [{"id": "toy.lengths", "cells": 3, "stored": 3, "missing": []}]))
    assert text.endswith("3 cells in all, 3 stored; nothing to train\n")

"""What `lemmata edit --advise` finds and prints."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from lemmata.lab.errors import DataError, InputError

if TYPE_CHECKING:
    from lemmata.lab.sweep import Progress
    from lemmata.tools.advise import Advice, Goal, Validated

__all__ = ["METRICS", "Found", "advised", "lines", "record"]

METRICS = ("accuracy",)
# Inputs that an estimate should have at least.
FEW = 100
# Coefficients that differ by less agree.
APART = 0.1
SAME = "name the fine-tuned model, and inputs of its task"

SAID = {
    ("add", "aligned"): "aligned: they share some of what they need, so that less than 1 of the second is enough",
    ("add", "irrelevant"): "irrelevant to each other: the second is needed whole",
    ("add", "contradictory"): "contradictory: no coefficient joins them (Theorem 1)",
    ("subtract", "aligned"): "aligned: forgetting the second damages the first (Theorem 2)",
    ("subtract", "irrelevant"): "irrelevant to each other: the second can be forgotten",
    ("subtract", "contradictory"): "contradictory: the second can be forgotten, which even helps the first",
    ("add", "unclear"): "not told by these inputs: take more of them, or labels",
    ("subtract", "unclear"): "not told by these inputs: take more of them, or labels",
}


@final
@dataclass(frozen=True, kw_only=True)
class Found:
    """The advice on two task vectors of a base; `validated` where there are labels."""

    base: str
    first: str
    second: str
    inputs: Path
    metric: str | None
    advice: Advice
    validated: Validated | None


def advised(
    base: str,
    add: Sequence[str],
    subtract: Sequence[str],
    inputs: Path | None,
    *,
    metric: str | None,
    forward: str | None,
    progress: Progress,
) -> Found:
    """Run the models on the inputs and ask the theorems, and the labels where `metric` is given.

    Raises:
        InputError: not two vectors of which the first is added, no inputs, or a model that cannot be run.
        DataError: inputs that the model cannot read, or that lack labels.
    """
    from lemmata.tools.advise import GRIDS, advise, validate
    from lemmata.tools.answering import accuracy, hugging_face, own_function, read_inputs, weights_of
    from lemmata.tools.checkpoint import open_checkpoint
    from lemmata.tools.edit import open_vector
    from lemmata.tools.vectors import copies, tied

    if len(add) + len(subtract) != 2 or not add:
        got = f"{len(add)} to add and {len(subtract)} to subtract"
        fix = "pass --add FT1 --add FT2, or --add FT1 --subtract FT2"
        raise InputError("two task vectors for --advise, the first to add", got, fix)
    if metric is not None and metric not in METRICS:
        raise InputError(f"--metric {' or '.join(METRICS)}", metric, f"pass --metric {METRICS[0]}")
    if inputs is None:
        fix = 'pass --inputs FILE.jsonl with lines such as {"text": "a sentence"}'
        raise InputError("inputs for --advise", "none", fix)
    goal: Goal = "subtract" if subtract else "add"
    lines_of_file = read_inputs(inputs)
    start = open_checkpoint(base)
    twins = copies(start)
    vectors = [tied(open_vector(start, path), start, twins) for path in (*add, *subtract)]
    answer, labels = own_function(forward) if forward else hugging_face(start)
    total, done = 3 + (len(GRIDS[goal]) if metric else 0), 0

    def answers(*coefficients: float) -> Any:
        nonlocal done
        found = answer(weights_of(start, vectors, coefficients), lines_of_file)
        done += 1
        progress(done, total, None)
        return found

    progress(0, total, None)
    before = answers(0.0, 0.0)
    if metric:
        # Refused before anything else is run.
        numbers = labels(lines_of_file, before)
        if goal == "subtract" and {one.get("task") for one in lines_of_file} != {1, 2}:
            fix = 'write "task": 1 in inputs of the task to keep, "task": 2 in those of the one to forget'
            raise InputError("the task of every input, to forget one of two", "other tasks than 1 and 2", fix)
    changes = [answers(1.0, 0.0) - before, answers(0.0, 1.0) - before]
    for path, change in zip((*add, *subtract), changes, strict=True):
        if not change.any():
            raise DataError(f"a fine-tuning that changes answers in {inputs}", f"{path}, which changes none", SAME)
    advice = advise(*changes, goal=goal)
    validated = None
    if metric:

        def score(coefficient: float) -> float:
            of_task = accuracy(answers(1.0, coefficient), numbers, lines_of_file)
            return of_task[1] - of_task[2] if goal == "subtract" else sum(of_task.values()) / len(of_task)

        validated = validate(score, GRIDS[goal], near=advice.proposed)
    return Found(
        base=base,
        first=add[0],
        second=(*add, *subtract)[1],
        inputs=inputs,
        metric=metric,
        advice=advice,
        validated=validated,
    )


def record(found: Found) -> dict[str, Any]:
    """What `--json` prints; its schema is in docs/schemas."""
    advice, validated = found.advice, found.validated
    return {
        "base": found.base,
        "vectors": [found.first, found.second],
        "goal": advice.goal,
        "inputs": {"path": str(found.inputs), "count": advice.inputs},
        "alpha": {"value": advice.alpha, "lo": advice.alpha_interval.lo, "hi": advice.alpha_interval.hi},
        "correlation": advice.correlation,
        "relation": advice.relation,
        "theorem": {
            "coefficient": advice.proposed,
            # A window without an end has none in JSON.
            "lo": _finite(advice.interval.lo) if advice.interval else None,
            "hi": _finite(advice.interval.hi) if advice.interval else None,
        },
        "validated": None
        if validated is None
        else {
            "metric": found.metric,
            "coefficient": validated.coefficient,
            "score": validated.score,
            "at_theorem": None if advice.proposed is None else validated.at(advice.proposed),
            "grid": list(validated.grid),
            "scores": list(validated.scores),
        },
    }


def _finite(value: float) -> float | None:
    return value if abs(value) != float("inf") else None


def lines(found: Found) -> list[str]:
    """The same for reading."""
    from lemmata.show.words import count

    advice = found.advice
    interval = advice.alpha_interval
    rows = [
        ("inputs", f"{found.inputs}: {count(advice.inputs, 'input')}{_few(advice.inputs)}"),
        (
            "alpha",
            f"{advice.alpha:.2f} [{interval.lo:.2f}, {interval.hi:.2f}], from how alike the two fine-tunings change "
            f"the answers (correlation {advice.correlation:.2f})",
        ),
        ("tasks", SAID[advice.goal, advice.relation]),
        ("theorem", _theorem(advice)),
    ]
    if found.validated is not None:
        rows += _validated(found, found.validated)
    rows.append(("next", _next(found)))
    width = max(len(name) for name, _ in rows)
    return [f"{name:{width}}  {text}" for name, text in rows]


def _few(inputs: int) -> str:
    return f"; the estimate wants some {FEW} at least" if inputs < FEW else ""


def _theorem(advice: Advice) -> str:
    if advice.proposed is None or advice.interval is None:
        return "no coefficient"
    if advice.goal == "add":
        lo, hi = advice.interval
        return (
            f"{advice.proposed:.2f} = 1 - alpha; the smallest that works is expected in [{lo:.2f}, {hi:.2f}], and more "
            "does no harm to speak of"
        )
    lo = advice.region.lo
    end = "no end" if lo == -float("inf") else f"an end of about {lo:.2g}, 1 / alpha^2"
    return f"{advice.proposed:.2f}; the window from 0 down has {end}, up to a constant"


def _validated(found: Found, validated: Validated) -> list[tuple[str, str]]:
    """The best coefficient by the labels, and how far the theorem's is from it and why."""
    proposed = found.advice.proposed
    what = f"{found.metric} of the first minus the second" if found.advice.goal == "subtract" else f"{found.metric}"
    rows = [("validated", f"{validated.coefficient:g}, {what} {validated.score:.3f}, the best of {_span(found)}")]
    if proposed is None:
        rows.append(("apart", "the theorem has none: what is best here is a compromise, not a solution"))
        return rows
    there = validated.at(proposed)
    gap = abs(proposed - validated.coefficient)
    scores = f"{there:.3f} at the theorem's"
    if gap < APART:
        rows.append(("apart", f"{gap:.2f}, no more than the steps of the grid; {scores}"))
        return rows
    why = (
        "the theorem asks for the margin of a loss, which takes more than a right answer does"
        if abs(validated.coefficient) < abs(proposed)
        else "the theorem's task vectors are the same in size, and answers of the two models need not be"
    )
    rows.append(
        (
            "apart",
            f"{gap:.2f}, and {validated.score - there:.3f} of it; {scores}. {why[0].upper()}{why[1:]}, and "
            "it knows nothing of what the base already does: trust the labels",
        )
    )
    return rows


def _span(found: Found) -> str:
    grid = found.validated.grid if found.validated else ()
    return f"{min(grid):g} to {max(grid):g}"


def _next(found: Found) -> str:
    advice = found.advice
    chosen = found.validated.coefficient if found.validated else advice.proposed
    if chosen is None:
        return "leave one of them out, or try with labels: --inputs dev.jsonl --metric accuracy"
    call = ["--base", found.base, "--add", f"{found.first}:1", f"--{advice.goal}", f"{found.second}:{abs(chosen):.2g}"]
    return f"lemmata edit {shlex.join(call)} -o edited"

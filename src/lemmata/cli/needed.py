"""What the verb examples prints, as JSON and as text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lemmata.cli.measured import Measured
    from lemmata.lab.estimate import Estimate
    from lemmata.tools.examples import Needed, Scaling

__all__ = ["lines", "record"]

OPEN = "constant not given by the theorem"


def record(
    given: dict[str, Any], defaults: set[str], matrices: Sequence[Path], needed: Needed, found: Measured
) -> dict[str, Any]:
    """What `--json` prints; its schema is in docs/schemas."""
    plain = needed.without_steps
    return {
        "asked": {"split": None, **given, "matrices": [str(path) for path in matrices]},
        "defaults": sorted(defaults),
        "with_steps": {
            **_oracle_record(needed.with_steps),
            "scaling": [_scaling_record(scaling) for scaling in needed.scaling_with],
        },
        "without_steps": {
            **_oracle_record(plain),
            "possible": plain is None or plain.value != math.inf,
            "limit": needed.limit,
            "condition_1": needed.condition_1,
            "tasks": needed.tasks,
            "satisfied": needed.satisfied,
            "misled": list(needed.misled),
            "tau_o": list(needed.tau_o),
            "rho_o": list(needed.rho_o),
            "scaling": _scaling_record(needed.scaling_without) if needed.scaling_without else None,
        },
        "measured": {
            "profile": found.profile,
            "networks": [
                {
                    "noise": network.noise,
                    **_estimate_record(network.needed),
                    "seeds": network.needed.n,
                    "objections": list(network.needed.objections),
                }
                for network in found.networks
            ],
            "remark": " ".join(found.remark),
        },
    }


def _oracle_record(e: Estimate | None) -> dict[str, Any]:
    return {**_estimate_record(e), "trials": e.n if e else 0}


def _estimate_record(e: Estimate | None) -> dict[str, Any]:
    # A lower end at 0 is open: it is that of a logarithm.
    value, lo, hi = (e.value, e.lo or None, e.hi) if e else (None, None, None)
    return {"examples": _whole(value), "unrounded": _finite(value), "interval": [_finite(lo), _finite(hi)]}


def _scaling_record(scaling: Scaling) -> dict[str, Any]:
    return {"formula": scaling.formula, "value": scaling.value, "source": scaling.source}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _whole(value: float | None) -> int | None:
    """The first whole number that is enough; what rounding has added to one is taken off again."""
    finite = _finite(value)
    return None if finite is None else math.ceil(round(finite, 9))


def lines(
    given: dict[str, Any], notes: dict[str, str], matrices: Sequence[Path], needed: Needed, found: Measured
) -> list[str]:
    """The same for reading; a note stands behind the constant of its name."""
    from lemmata.show.words import number

    asked = [(f"A_{k}", str(path)) for k, path in enumerate(matrices, start=1)]
    for name, value in given.items():
        asked.append((name, number(value) + (f" ({notes[name]})" if name in notes else "")))
    target = number(needed.error)
    return [
        *_block("asked", asked),
        *_block(f"with intermediate steps, until {target} of the steps are wrong", _with_steps(needed, found)),
        *_block(f"without, until {target} of the outcomes are wrong", _without_steps(needed)),
    ]


def _block(title: str, rows: Sequence[tuple[str, str]]) -> list[str]:
    """A title and aligned rows; a row without a name goes on with the one above."""
    width = max(len(name) for name, _ in rows)
    return [title, *(f"  {name:{width}}  {text}" for name, text in rows)]


def _with_steps(needed: Needed, found: Measured) -> list[tuple[str, str]]:
    theorem = [f"scales as {_scaling(scaling)}" for scaling in needed.scaling_with]
    told = [_network(network.needed, network.noise, found.profile) for network in found.networks]
    return [
        ("oracle", _enough(needed.with_steps)),
        *_rows("theorem", [*theorem, OPEN]),
        *_rows("measured", [*told, *found.remark]),
    ]


def _without_steps(needed: Needed) -> list[tuple[str, str]]:
    return [
        *_rows("oracle", _oracle_without(needed)),
        *_rows("theorem", _theorem_without(needed)),
        *_rows("Condition 1", _condition_1(needed)),
    ]


def _oracle_without(needed: Needed) -> list[str]:
    from lemmata.show.words import count, number
    from lemmata.tools.examples import LONGEST

    plain = needed.without_steps
    if plain is None:
        return [f"more than {count(LONGEST, 'example')}"]
    if plain.value < math.inf:
        return [_enough(plain)]
    limit = number(needed.limit)
    if needed.transitions:
        share = f"{len(needed.misled)} of {len(needed.transitions.path)} starts most likely end in a wrong outcome"
        return [f"never: without Condition 1 the error tends to {limit} ({share})"]
    failing = f"{needed.tasks - needed.satisfied} of {needed.tasks} tasks fail Condition 1"
    never = [f"never: the mean error tends to {limit}, as {failing}"]
    if plain.lo < math.inf:
        never.append(f"95 % over {plain.n} trials: {_whole(plain.lo)} examples or more")
    return never


def _theorem_without(needed: Needed) -> list[str]:
    if needed.scaling_without:
        return [f"scales as {_scaling(needed.scaling_without)}", OPEN]
    if needed.transitions:
        return ["promises nothing without Condition 1"]
    return ["scales as (alpha tau_o rho_o)^-2, task by task (Theorem 3, under Condition 1)"]


def _condition_1(needed: Needed) -> list[str]:
    """Whether it holds, with an example where it does not."""
    from lemmata.show.words import number

    task = needed.transitions
    if not task:
        ranges = {"tau_o": needed.tau_o, "rho_o": needed.rho_o}
        constants = ", ".join(f"{name} = {number(lo)} to {number(hi)}" for name, (lo, hi) in ranges.items())
        return [
            f"holds in {needed.satisfied} of {needed.tasks} tasks drawn: {constants}",
            "the tasks differ in the wrong states to which each step leads",
        ]
    constants = f"tau_o = {number(task.tau_o)}, rho_o = {number(task.rho_o)}"
    if needed.condition_1:
        return [f"holds: {constants}"]
    start = needed.misled[0]
    true = int(task.path[start, -1])
    row_S = task.product[start]
    other = max((j for j in range(len(row_S)) if j != true), key=lambda j: row_S[j])
    return [
        f"fails: {constants}",
        f"from state {start} the outcome is {other} with probability {number(float(row_S[other]))}, and the true one, "
        f"{true}, with {number(float(row_S[true]))}",
    ]


def _enough(e: Estimate) -> str:
    """The oracle's number, and how it is known."""
    return f"{_count(e)} examples ({f'95 % over {e.n} trials of the mechanism' if e.n else 'exact'})"


def _network(needed: Estimate, noise: str, profile: str | None) -> str:
    """What trained networks need, or why there is no number."""
    from lemmata.show.words import count

    if _finite(needed.value) is None:
        return f"{noise}: {'; '.join(needed.objections)}"
    interval = f"95 % over {count(needed.n, 'seed')}" if needed.n > 1 else "one seed, which has no interval"
    return f"{_count(needed)} examples ({interval}, profile {profile}), {noise}"


def _count(e: Estimate) -> str:
    """A whole number of examples, with its interval where it has one."""
    lo, hi = _whole(e.lo), _whole(e.hi)
    if e.lo == e.hi or lo is None:
        return str(_whole(e.value))
    return f"{_whole(e.value)} [{lo}, {'∞' if hi is None else hi}]"


def _scaling(scaling: Scaling) -> str:
    from lemmata.show.words import number

    return f"{scaling.formula} = {number(scaling.value)} ({scaling.source})"


def _rows(name: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    """The first of these beside the name, the others below it."""
    return [("" if i else name, text) for i, text in enumerate(texts)]

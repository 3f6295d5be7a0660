"""The verb examples: how many demonstrations a prompt needs. What it prints is in `needed`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from lemmata.cli import options
from lemmata.cli.matrices import read_matrices
from lemmata.cli.options import Asked, Number, Whole
from lemmata.cli.output import print_json
from lemmata.lab.errors import InputError

__all__ = ["examples"]

# What given matrices have of their own, as options.
PRESCRIBED = ("tau", "rho", "steps", "patterns", "split")


def _constant(name: str, default: Any, kind: click.ParamType, help: str) -> Any:
    return click.option(f"--{name}", type=kind, default=default, show_default=True, help=help)


@click.command()
@_constant("alpha", 0.8, Number(), "Share of the demonstrations that start where the query does.")
@_constant("tau", 0.5, Number(), "How often a demonstration is right in all of its steps.")
@_constant("rho", 0.8, Number(), "Lead of the right step over the likeliest wrong one: 1 - (wrong) / (right).")
@_constant("steps", 3, Whole(1), "Steps of the task.")
@_constant("patterns", 10, Whole(2), "States that a step can lead to.")
@click.option(
    "--split",
    metavar="one|even",
    default="one",
    show_default=True,
    help="Where demonstrations err: in one of the steps, or evenly in all of them.",
)
@click.option(
    "--matrix",
    "matrices",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A CSV file for each step, in order, in place of tau, rho, steps, patterns and split. Row i, column j is how "
    "often the step leads from state i to state j.",
)
@_constant("error", 0.01, Number(), "The error to come down to: the share of wrong steps, or of wrong outcomes.")
@options.where
@options.as_json
@options.asked
def examples(
    asked: Asked,
    alpha: float,
    tau: float,
    rho: float,
    steps: int,
    patterns: int,
    split: Any,
    matrices: Sequence[Path],
    error: float,
    as_json: bool,
) -> None:
    """Tell how many demonstrations you need.

    A prompt demonstrates a task of several steps, and some demonstrations go wrong. How many are
    enough to answer a query: once if they show their intermediate steps (chain-of-thought), once
    if they show only inputs and outcomes? For each it prints

      oracle       what perfect attention needs; nothing is fitted
      theorem      how the need grows, up to a constant that is left open
      measured     what trained networks needed, if the store has it
      Condition 1  whether inputs and outcomes can be enough at all: the right
                   outcome of every start has to be its only most likely one

    Nothing is trained and nothing is written.

      lemmata examples
      lemmata examples --alpha 0.4 --tau 0.7 --rho 0.9 --split even --error 0.02
      lemmata examples --matrix A1.csv --matrix A2.csv --json
    """
    from lemmata.cli.measured import NOT_MATRICES, measured
    from lemmata.cli.needed import lines, record
    from lemmata.tools import examples as tool

    context = click.get_current_context()
    defaults = {name for name in context.params if context.get_parameter_source(name) is ParameterSource.DEFAULT}
    if matrices:
        _refuse_both([name for name in PRESCRIBED if name not in defaults])
        given_K = read_matrices(matrices)
        needed = tool.examples_of(given_K, alpha=alpha, error=error)
        of_task = {"tau": needed.tau, "rho": needed.rho, "steps": len(given_K), "patterns": len(given_K[0])}
        found = NOT_MATRICES
        own = PRESCRIBED
    else:
        of_task = {"tau": tau, "rho": rho, "steps": steps, "patterns": patterns, "split": split}
        needed = tool.examples(alpha=alpha, error=error, **of_task)
        found = measured(asked, alpha=alpha, error=error, **of_task)
        own = ()
    given = {"alpha": alpha, **of_task, "error": error}
    defaults = defaults & given.keys() - set(own)
    if as_json:
        print_json(record(given, defaults, matrices, needed, found))
    else:
        notes = {name: "default" for name in defaults} | {name: "of the matrices" for name in own}
        click.echo("\n".join(lines(given, notes, matrices, needed, found)))


def _refuse_both(named: Sequence[str]) -> None:
    """Refuse constants beside the matrices that have them."""
    if named:
        options = " and ".join(f"--{name}" for name in named)
        fix = f"leave out {options}: the matrices have their own"
        raise InputError("--matrix, or constants in its place", f"--matrix and {options}", fix)

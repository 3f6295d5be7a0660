"""The verb edit: task vectors added to a checkpoint, or subtracted from it."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from lemmata.cli import options
from lemmata.cli.errors import INTERRUPTED
from lemmata.cli.output import say, to_json
from lemmata.lab.errors import InputError

__all__ = ["edit"]

GIGABYTE = 1_000_000_000


class Weighted(click.ParamType):
    """A path with a coefficient behind a colon, which is 1 where there is none; the path may hold colons too."""

    name = "PATH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        """The path and the coefficient, or an `InputError` that names the option."""
        found = re.fullmatch(r"(.+):([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)", value, re.S)
        path, coefficient = found.groups() if found else (value, "1")
        option = param.opts[0] if param else "the option"
        if not path:
            raise InputError(f"{option} PATH:COEFFICIENT", repr(value), f"for example {option} finetuned:0.8")
        if option == "--subtract" and float(coefficient) < 0:
            raise InputError("a coefficient of at least 0 for --subtract", value, "a task vector is added with --add")
        return path, float(coefficient)


class Number(click.ParamType):
    """A number."""

    name = "NUMBER"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number, or an `InputError` that names the option."""
        option = param.opts[0] if param else "the option"
        try:
            return float(value)
        except ValueError:
            raise InputError(f"a number for {option}", str(value), f"for example {option} 0.5") from None


def _vectors(name: str, what: str) -> Any:
    return click.option(f"--{name}", multiple=True, type=Weighted(), metavar="PATH[:COEF]", help=what)


def _share(name: str, metavar: str, what: str) -> Any:
    return click.option(f"--{name}", type=Number(), metavar=metavar, help=what)


@click.command()
@click.option("--base", required=True, metavar="PATH", help="The model that all others were fine-tuned from.")
@_vectors("add", "A fine-tuning of it to add, and how much of it; may be repeated.  [default COEF: 1]")
@_vectors("subtract", "A fine-tuning of it to forget, and how much of it; may be repeated.  [default COEF: 1]")
@click.option(
    "--rank",
    type=options.Whole(1),
    help="Keep of each matrix its best approximation of this rank; memory grows with its shorter side, squared.",
)
@_share("keep-rows", "SHARE", "Keep of each matrix the share of its rows with the largest norms.")
@_share("ties", "SHARE", "TIES: keep the share of largest entries, elect signs, average what agrees.")
@_share("dare", "P", "DARE: drop entries with this probability, scale up the rest.")
@click.option("--seed", type=options.Whole(0), help="Of --dare.  [default: 0]")
@click.option(
    "--shard-size",
    type=Number(),
    metavar="GB",
    default=2.0,
    show_default=True,
    help="Gigabytes of a file of weights, at most.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FOLDER", help="The folder to write.")
@click.option("--force", is_flag=True, help="Replace a folder that `lemmata edit` wrote.")
@click.option("--advise", is_flag=True, help="Write nothing; tell which coefficient the second vector should have.")
@click.option(
    "--inputs",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Of --advise: a JSON object a line, some hundred, about as many for each task.",
)
@click.option(
    "--metric", metavar="accuracy", help="Of --advise: the inputs have labels; find the best coefficient too."
)
@click.option(
    "--forward", metavar="FILE.py:NAME", help="Of --advise: your function forward(weights, inputs) runs the models."
)
@options.as_json
def edit(
    base: str,
    add: Sequence[tuple[str, float]],
    subtract: Sequence[tuple[str, float]],
    rank: int | None,
    keep_rows: float | None,
    ties: float | None,
    dare: float | None,
    seed: int | None,
    shard_size: float,
    output: Path | None,
    force: bool,
    advise: bool,
    inputs: Path | None,
    metric: str | None,
    forward: str | None,
    as_json: bool,
) -> None:
    """Add or subtract what fine-tuning taught a model.

    A task vector is a fine-tuned model minus its base. Adding one teaches its task to the base,
    adding several merges them, subtracting one makes the base forget it. Nothing is trained:

      edited = base + sum of COEF x (fine-tuned - base)

    A PATH is a .safetensors file, a Hugging Face folder, or (not for --base) a LoRA adapter's
    folder as peft writes it. Pickle files are not read. The output is a folder: weights in the
    base's dtype, the base's configuration and tokenizer, and a model card with the recipe.

    Which coefficient? For tasks of correlation alpha >= 0, Theorem 1 of arXiv 2504.10957 asks for
    1 - alpha or a little more. Tasks that contradict each other cannot be merged. With --advise
    the models answer your inputs: alpha is estimated from how alike the two fine-tunings change
    the answers, without labels; with --metric accuracy and a "label" in each input (and a "task")
    the coefficient that is best for them stands beside it. A Hugging Face classifier or causal
    language model reads the "text" of an input; --forward runs anything else.

      lemmata edit --base B --add ft1:1.0 --add ft2:0.6 -o merged/
      lemmata edit --base B --subtract ft1:0.8 -o forgot/
      lemmata edit --base B --add ft1 --rank 1 -o low-rank/
      lemmata edit --base B --add ft1 --keep-rows 0.2 -o sparse/
      lemmata edit --base B --add ft1 --add ft2 --ties 0.2 -o ties/
      lemmata edit --base B --add ft1 --add ft2 --advise --inputs probe.jsonl
      lemmata edit --base B --add ft1 --subtract ft2 --advise --inputs dev.jsonl --metric accuracy
    """
    if advise:
        writing = {
            "-o": output,
            "--rank": rank,
            "--keep-rows": keep_rows,
            "--ties": ties,
            "--dare": dare,
            "--seed": seed,
        }
        given = [name for name, value in writing.items() if value is not None] + ["--force"] * force
        _advise(base, add, subtract, given, inputs, metric, forward, as_json)
        return
    for name, value in (("--inputs", inputs), ("--metric", metric), ("--forward", forward)):
        if value is not None:
            raise InputError(f"--advise beside {name}", "no --advise", f"add --advise, or leave {name} out")
    from lemmata.cli.edited import lines, record
    from lemmata.cli.progress import Meter
    from lemmata.tools.edit import edit as tool
    from lemmata.tools.recipes import Recipe

    vectors = [*add, *((path, -coefficient) for path, coefficient in subtract)]
    if output is None:
        fix = "name the folder to write, as -o edited, or ask for --advise"
        raise InputError("-o FOLDER after lemmata edit", "none", fix)
    recipe = Recipe(rank=rank, keep_rows=keep_rows, ties=ties, dare=dare, seed=seed)
    if not 0 < shard_size < float("inf"):
        raise InputError("gigabytes above 0 for --shard-size", str(shard_size), "for example --shard-size 5")
    try:
        with _ended_alike(), Meter("MB") as meter:
            edited = tool(
                base,
                vectors,
                output,
                recipe=recipe,
                shard_size=max(1, round(shard_size * GIGABYTE)),
                force=force,
                progress=meter,
            )
    except KeyboardInterrupt:
        say(f"stopped: {output} was not written")
        click.get_current_context().exit(INTERRUPTED)
    _print(record(edited) if as_json else lines(edited))


@contextmanager
def _ended_alike() -> Iterator[None]:
    """What a scheduler sends to end a program ends it as Ctrl-C does, which cleans up."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _advise(
    base: str,
    add: Sequence[tuple[str, float]],
    subtract: Sequence[tuple[str, float]],
    given: Sequence[str],
    inputs: Path | None,
    metric: str | None,
    forward: str | None,
    as_json: bool,
) -> None:
    """Print the advice on two task vectors."""
    from lemmata.cli import advice
    from lemmata.cli.progress import Meter

    if given:
        raise InputError("--advise on its own, which writes nothing", given[0], f"leave {given[0]} out, or --advise")
    if odd := [f"{path}:{coefficient:g}" for path, coefficient in (*add, *subtract) if coefficient != 1]:
        fix = "leave the coefficient out: it is what is asked for"
        raise InputError("task vectors without coefficients for --advise", odd[0], fix)
    try:
        with Meter("models run") as meter:
            found = advice.advised(
                base,
                [path for path, _ in add],
                [path for path, _ in subtract],
                inputs,
                metric=metric,
                forward=forward,
                progress=meter,
            )
    except KeyboardInterrupt:
        say("stopped: nothing is kept of the models that were run")
        click.get_current_context().exit(INTERRUPTED)
    _print(advice.record(found) if as_json else advice.lines(found))


def _print(found: dict[str, Any] | list[str]) -> None:
    """A record or lines, with a question mark for a part of a file's name that is no text."""
    text = to_json(found) if isinstance(found, dict) else "\n".join(found)
    click.echo(text.encode("utf-8", "replace").decode())

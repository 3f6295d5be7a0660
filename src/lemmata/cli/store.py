"""The verb store: what a store holds, whether it is right, joining its shards, taking over another one's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lemmata.cli import options
from lemmata.cli.errors import DIFFERENT
from lemmata.cli.group import Verbs
from lemmata.cli.options import Asked, Whole
from lemmata.cli.output import print_json, say, say_damaged
from lemmata.cli.progress import Meter

if TYPE_CHECKING:
    from lemmata.lab.store import Store
    from lemmata.lab.upkeep import Holding, Verified

__all__ = ["store"]


@click.group(cls=Verbs)
def store() -> None:
    """Look after the store: info, verify, compact, merge.

    The store is a folder of Parquet files, which nothing of Lemmata ever unpickles. It may be
    copied, and each of these may be stopped and repeated.

      lemmata store info
      lemmata store verify --sample 20
      lemmata store merge other-store
    """


@click.command()
@options.where
@options.as_json
@options.asked
def info(asked: Asked, as_json: bool) -> None:
    """Say what the store holds.

    A line for each kind of network: cells, shards, megabytes, minutes of training, and on which
    machines and with which versions they were trained.

      lemmata store info --store results
    """
    from lemmata.lab.store import Store
    from lemmata.lab.upkeep import holdings

    opened = Store(asked.store, look=True)
    with Meter("shards") as meter:
        found = holdings(opened, told=meter)
    if as_json:
        print_json({"store": str(asked.store), "holds": [_holding(each) for each in found]})
    else:
        click.echo("\n".join(_lines(found)) if found else f"{asked.store} holds nothing")
    _say_found(opened)


@click.command()
@click.option("--sample", type=Whole(0), default=0, show_default=True, help="Train so many cells again and compare.")
@click.option("--seed", type=Whole(0), default=0, show_default=True, help="Which cells these are.")
@options.where
@options.as_json
@options.asked
def verify(asked: Asked, sample: int, seed: int, as_json: bool) -> None:
    """Check the store.

    Reads every shard: its bytes against the digest in its name, its cells against their ids. Nothing
    is changed; the next check sets a damaged shard aside and trains its cells again. With --sample
    so many cells are trained again here, and their numbers compared with the stored ones: equal to
    the bit on a CPU with the same instructions and versions. Exit status 3 if anything is wrong.

      lemmata store verify
      lemmata store verify --sample 20 --store results
    """
    from lemmata import registry
    from lemmata.lab.store import Store
    from lemmata.lab.upkeep import verify as verified

    opened = Store(asked.store, look=True)
    with Meter("shards and cells") as meter:
        found = verified(opened, cell=registry.cell, sample=sample, seed=seed, told=meter)
    if as_json:
        print_json(_verified(found))
    else:
        click.echo("\n".join(_said(found)))
    if not found.sound:
        click.get_current_context().exit(DIFFERENT)


@click.command()
@options.where
@options.as_json
@options.asked
def compact(asked: Asked, as_json: bool) -> None:
    """Join many small shards into few large ones.

    Every measurement stays what it is, and a cell that was stored twice is kept once. Refused while
    another run trains into the store.

      lemmata store compact
    """
    from lemmata.lab.compaction import compact as compacted
    from lemmata.lab.store import Store

    opened = Store(asked.store)
    with Meter("shards") as meter:
        before, after = compacted(opened, told=meter)
    if as_json:
        print_json({"before": before, "after": after})
    else:
        click.echo(f"{before} shards before, {after} now")
    say_damaged(opened)


@click.command()
@click.argument("other", type=click.Path(path_type=Path), metavar="OTHER")
@options.where
@options.as_json
@options.asked
def merge(asked: Asked, other: Path, as_json: bool) -> None:
    """Take over the cells of the store OTHER that this one lacks.

    OTHER stays as it is. Shards are copied whole, so that a cell may be in two of them: it is
    counted, and read from one.

      lemmata store merge results-of-the-cluster --store results
    """
    from lemmata.lab.errors import InputError
    from lemmata.lab.store import Store
    from lemmata.lab.upkeep import merge as merged

    if not (other / "store.json").is_file():
        raise InputError("the folder of another store", f"{other}, which is none", "name one that a check has written")
    opened, theirs = Store(asked.store), Store(other, look=True)
    with Meter("shards") as meter:
        new, known = merged(opened, theirs, told=meter)
    if as_json:
        print_json({"new": new, "known": known})
    else:
        click.echo(f"{new} cells new, {known} were here")
    _say_found(theirs)


for _verb in (info, verify, compact, merge):
    store.add_command(_verb)


def _say_found(store: Store) -> None:
    """Which shards are damaged in a store that was only looked at."""
    for path in store.damaged:
        say(f"damaged, and left out: {path}")


def _holding(each: Holding) -> dict[str, object]:
    return {
        "kind": each.kind,
        "version": each.version,
        "cells": each.cells,
        "twice": each.twice,
        "shards": each.shards,
        "bytes": each.bytes,
        "seconds": each.seconds,
        "made": list(each.made),
    }


def _lines(found: list[Holding]) -> list[str]:
    wide = max(len(f"{each.kind} v{each.version}") for each in found)
    lines = [f"{'':{wide}}   cells  shards       MB  minutes"]
    for each in found:
        name = f"{each.kind} v{each.version}"
        numbers = f"{each.cells:7}  {each.shards:6}  {each.bytes / 1e6:7.1f}  {each.seconds / 60:7.1f}"
        lines.append(f"{name:{wide}} {numbers}" + (f"  {each.twice} cells twice" if each.twice else ""))
        lines += [f"{'':{wide}} trained with {made}" for made in each.made if made]
    return lines


def _verified(found: Verified) -> dict[str, object]:
    return {
        "sound": found.sound,
        "shards": found.shards,
        "cells": found.cells,
        "twice": found.twice,
        "damaged": [str(path) for path in found.damaged],
        "wrong": [{"shard": str(each.path), "what": each.what} for each in found.wrong],
        "recomputed": [{"cell": r.cell, "outcome": r.outcome, "why": r.why} for r in found.recomputed],
    }


def _said(found: Verified) -> list[str]:
    from lemmata.show.words import count

    lines = [f"{count(found.shards, 'shard')} with {count(found.cells, 'cell')}, as they were written"]
    if found.twice:
        lines.append(f"{count(found.twice, 'cell')} stored twice; `lemmata store compact` keeps each once")
    lines += [f"damaged: {path}" for path in found.damaged]
    lines += [f"wrong: {each.path}: {each.what}" for each in found.wrong]
    outcomes = [r.outcome for r in found.recomputed]
    for outcome in dict.fromkeys(outcomes):
        lines.append(f"trained again: {count(outcomes.count(outcome), 'cell')} {outcome}")
    lines += [f"{r.cell} {r.outcome}: {r.why}" for r in found.recomputed if r.why]
    lines.append("sound" if found.sound else "not sound")
    return lines

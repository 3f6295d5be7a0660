"""The verbs that train: plan says what there is to do, check does it and judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lemmata.cli import options
from lemmata.cli.errors import DIFFERENT
from lemmata.cli.options import Asked
from lemmata.cli.output import print_json, say, say_damaged, to_json, write
from lemmata.cli.progress import Meter
from lemmata.cli.record import differences, read_record, to_record

if TYPE_CHECKING:
    from lemmata.lab.claim import Claim

__all__ = ["check", "named", "plan"]

NAMES = click.argument("names", nargs=-1, metavar="[NAME]...")


def named(names: Sequence[str]) -> list[Claim]:
    """The claims of these papers and claims, each once; of all papers without a name."""
    from lemmata import registry

    names = names or [paper.id for paper in registry.papers()]
    return list({claim.id: claim for name in names for claim in registry.claims(name)}.values())


@click.command()
@NAMES
@click.option("--cells", is_flag=True, help="Name every cell by its id (with --json).")
@options.what
@options.where
@options.how
@options.as_json
@options.asked
def plan(asked: Asked, names: Sequence[str], cells: bool, as_json: bool) -> None:
    """Say what a check would train.

    NAME is a paper or a claim; without one, all papers. For each claim: how many networks (cells)
    its predictions read, how many of them the store holds already, and for all of it about how many
    minutes are left on how many workers, and how many networks of a kind are trained together:
    what trains for minutes is tried for a second first, and what came out is remembered. Nothing is
    stored.

      lemmata plan icl --full
      lemmata plan icl.pruning --seeds 20 --workers 2
      lemmata plan icl.pruning --json --cells
      lemmata plan icl --full --engine slurm --workers 64
    """
    from lemmata.lab.needs import missing
    from lemmata.lab.store import Store
    from lemmata.lab.sweep import plan as plan_sweep

    claims = named(names)
    wanted = asked.options(claims)
    store = Store(wanted.store)
    rows, every = [], {}
    for claim in claims:
        own = {cell.id: cell for part in claim.cells(wanted).values() for cell in part}
        held = store.holds(own.values())
        reasons = missing(claim.needs)
        rows.append({"id": claim.id, "cells": len(own), "stored": len(held), "missing": reasons})
        every |= own
    with Meter("cells") as meter:
        found = plan_sweep(
            list(every.values()),
            store,
            workers=wanted.workers,
            device=wanted.device,
            compile=wanted.compile,
            engine=wanted.engine,
            address=wanted.address,
            slurm=wanted.slurm,
            progress=meter,
        )
    if not as_json:
        from lemmata.show.terminal import plan_table, terminal

        terminal().print(plan_table(found, rows))
        return
    print_json(
        {
            "profile": wanted.profile,
            "store": str(wanted.store),
            "device": wanted.device,
            "engine": found.engine,
            "cells": found.cells,
            "stored": found.stored,
            "chunks": found.chunks,
            "chunk_size": found.chunk_size,
            "workers": found.workers,
            "minutes": found.minutes,
            "choices": [asdict(choice) for choice in found.choices],
            "claims": rows,
        }
        | ({"cell_ids": list(every)} if cells else {})
    )


@click.command()
@NAMES
@click.option(
    "--expect",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Exit with status 3 where a verdict is not the one that this file recorded.",
)
@click.option(
    "--record",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the verdicts there, for --expect.",
)
@options.force
@options.what
@options.where
@options.how
@options.as_json
@options.asked
def check(
    asked: Asked,
    names: Sequence[str],
    expect: Path | None,
    record: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Train what is missing and judge.

    NAME is a paper or a claim; without one, all papers. Trains the networks that the store lacks,
    compares each prediction with what they measured, and says CONFIRMED, REFUTED or UNDECIDED by a
    rule that was fixed before; NOT RUN with the reason where a claim lacks its data or an extra.
    --quick, the default and --full differ in seeds and grid, never in a rule. With --set the
    constants are others than the registered ones, and the verdict is labelled so. A check that was
    interrupted goes on where it stopped. --engine ray and --engine slurm train on a cluster, to
    the same verdicts and into the same store.

      lemmata check icl --quick
      lemmata check icl.out-of-domain --seeds 10 --json
      lemmata check icl.test-length --set beta=1.5
      lemmata check icl --record verdicts.json   # and from then on, in CI:
      lemmata check icl --expect verdicts.json   # exit status 3 where they differ
    """
    from lemmata.lab import check as lab
    from lemmata.lab.store import Store
    from lemmata.show.output import check_output
    from lemmata.show.terminal import terminal, verdict_table

    claims = named(names)
    wanted = asked.options(claims)
    expected = read_record(expect) if expect else None
    if record:
        check_output(record, endings=(".json",), force=force)
    store = Store(wanted.store)
    with Meter("cells") as meter:
        results = lab.check(claims, replace(wanted, progress=meter), store=store)
    say_damaged(store)
    judged = [verdict for result in results for verdict in result.verdicts]
    if as_json:
        print_json({"verdicts": [verdict.to_json() for verdict in judged]})
    else:
        terminal().print(verdict_table(results))
    if record:
        write(record, to_json(to_record(judged)).encode() + b"\n")
    differing = differences(expected, judged) if expected is not None else []
    for line in differing:
        say(line)
    if differing:
        click.get_current_context().exit(DIFFERENT)

"""The verbs that read the store: table, show, report, network. None of them trains for a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lemmata.cli import options
from lemmata.cli.checking import NAMES, named
from lemmata.cli.options import Asked
from lemmata.cli.output import say, say_damaged, to_json, write
from lemmata.lab.errors import DataError, InputError

if TYPE_CHECKING:
    from lemmata.lab.check import Result
    from lemmata.lab.claim import Claim, Options
    from lemmata.lab.store import Store
    from lemmata.lab.table import Table

__all__ = ["largest_stored", "network", "report", "show", "table"]

CLAIM = click.argument("claim", metavar="CLAIM")


@click.command()
@CLAIM
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values.")
@click.option("--seeds-apart", is_flag=True, help="Every row as measured, with its seed and cell.")
@options.output("Write a .csv or .json file instead of printing.", required=False)
@options.force
@options.what
@options.where
@options.as_json
@options.asked
def table(
    asked: Asked,
    claim: str,
    as_csv: bool,
    seeds_apart: bool,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Print the measurements behind a claim.

    One row for each condition, metric and x: the mean over seeds with its 95 % interval and the
    number of seeds. Reads the store at the profile that is asked for, or else at the largest that
    is stored in full, and trains nothing.

      lemmata table icl.pruning --csv > pruning.csv
      lemmata table icl.pruning --quick --json
      lemmata table icl.pruning --seeds-apart -o rows.csv
    """
    from lemmata import registry
    from lemmata.show.output import check_output

    if as_csv and as_json:
        raise InputError("one of --csv and --json", "both", "leave one of them out")
    if output:
        check_output(output, endings=(".csv", ".json"), force=force)
        as_json = as_json or (output.suffix == ".json" and not as_csv)
    result = _stored(asked, registry.claim(claim))
    shown = _rows_apart(result) if seeds_apart else result.table
    if as_json:
        text = to_json(_table_record(result, shown))
    elif as_csv or output:
        text = shown.to_csv().rstrip("\n")
    else:
        text = shown.to_pandas().to_string(index=False, na_rep="")
    if output:
        write(output, f"{text}\n".encode())
    else:
        click.echo(text)


@click.command()
@CLAIM
@options.output("The picture: .png, .svg, .pdf or .pgf.")
@click.option("--venue", metavar="icml|neurips|iclr", help="Width and fonts of a venue's style.")
@options.force
@options.what
@options.where
@options.asked
def show(asked: Asked, claim: str, output: Path, venue: str | None, force: bool) -> None:
    """Draw the figure of a claim.

    The ending of the file name says how: png and svg for a page, pdf and pgf for a paper. The
    caption is printed, with the number of seeds behind the intervals. Reads the store at the
    profile that is asked for, or else at the largest that is stored in full, and trains nothing.

      lemmata show icl.pruning -o pruning.pdf
      lemmata show icl.pruning -o pruning.pgf --venue icml
      lemmata show icl.pruning --full -o pruning.svg --force
    """
    from lemmata import registry
    from lemmata.show.draw import caption
    from lemmata.show.output import FIGURE_ENDINGS, check_output, save
    from lemmata.show.style import venue_style

    check_output(output, endings=FIGURE_ENDINGS, force=force)
    venue_style(venue)
    result = _stored(asked, registry.claim(claim))
    save(result, output, venue=venue, force=force)
    say(f"wrote {output}")
    click.echo(caption(result.figure))


@click.command()
@NAMES
@options.output("The page.  [default: report.html]", required=False)
@options.force
@options.what
@options.where
@options.asked
def report(asked: Asked, names: Sequence[str], output: Path | None, force: bool) -> None:
    """Write everything that was found as one page.

    NAME is a paper or a claim; without one, all papers. The page is a single HTML file that needs
    no network: verdicts, figures, tables, constants, the command that reproduces each, citations.
    Each claim is judged from the store at the profile that is asked for, or else at the largest
    that is stored in full; a claim that was not checked yet is NOT RUN. Nothing is trained.

      lemmata report -o report.html
      lemmata report icl --quick -o quick.html --force
    """
    from lemmata import registry
    from lemmata.lab.check import judge
    from lemmata.lab.store import Store
    from lemmata.show.output import check_output
    from lemmata.show.report import write_report

    output = check_output(output or "report.html", endings=(".html",), force=force)
    claims = named(names)
    store = Store(asked.store)
    found = {claim.id: largest_stored(asked, claim, store) for claim in claims}
    if not any(found.values()):
        fix = " ".join(["run lemmata check", *names, *([f"--{asked.profile}"] if asked.profile else [])])
        raise DataError(f"a claim's measurements in {asked.store}", "none in full", fix)
    results = [judge(c, found[c.id] or asked.options([c]), store) for c in claims]
    write_report(output, results, papers=registry.papers(), force=force)
    say_damaged(store)
    _say_profiles(found)
    click.echo(output)


@click.command()
@click.argument("cell", metavar="CELL")
@options.output("The weights: a .safetensors file.")
@options.force
@options.where
@options.device
@options.asked
def network(asked: Asked, cell: str, output: Path, force: bool) -> None:
    """Write the trained weights of a stored cell.

    CELL is the id of a cell, or the beginning of one, as `lemmata table CLAIM --seeds-apart` lists
    them. The store keeps measurements, not weights: the network is trained again from its constants
    and its seed, on a CPU to the same numbers. The file's metadata hold the constants, the seed and
    the citation.

      lemmata network 3f9a01c2 -o net.safetensors
    """
    from lemmata import registry
    from lemmata.cli.weights import weights
    from lemmata.lab.store import Store
    from lemmata.show.output import check_output

    check_output(output, endings=(".safetensors",), force=force)
    found = registry.cell(Store(asked.store).spec(cell))
    paper = registry.paper_of(found.config.kind)
    content = weights(found, paper, device=asked.device, compile=asked.compile)
    write(output, content)


def _stored(asked: Asked, claim: Claim) -> Result:
    """The claim as judged from the store, at the profile asked for or the largest there is."""
    from lemmata.lab.check import judge
    from lemmata.lab.store import Store
    from lemmata.show.words import command

    store = Store(asked.store)
    found = largest_stored(asked, claim, store)
    result = judge(claim, found or asked.options([claim]), store)
    say_damaged(store)
    if not result.frames:
        wanted = f"the measurements of {claim.id} in {asked.store}"
        raise DataError(wanted, result.verdicts[0].reason, f"run {command('check', result)}")
    if asked.profile is None:
        say(f"{claim.id} at the profile {result.options.profile}, the largest stored in full")
    return result


def largest_stored(asked: Asked, claim: Claim, store: Store) -> Options | None:
    """The profile asked for, or else the largest, if all cells that its verdicts read are stored."""
    from lemmata.lab.grid import PROFILES

    wanted = asked.options([claim])
    for profile in [asked.profile] if asked.profile else reversed(PROFILES):
        at = replace(wanted, profile=profile)
        cells = {c.id: c for (_, setting), part in claim.cells(at).items() if setting is None for c in part}
        if cells and store.holds(cells.values()) == set(cells):
            return at
    return None


def _say_profiles(found: Mapping[str, Options | None]) -> None:
    """At which profile each claim is shown."""
    by_profile: dict[str, list[str]] = {}
    for id, at in found.items():
        by_profile.setdefault(f"profile {at.profile}" if at else "not stored", []).append(id)
    for profile, ids in by_profile.items():
        say(f"{profile}: {', '.join(ids)}")


def _rows_apart(result: Result) -> Table:
    """Every row as measured, with its experiment, cell and seed."""
    import pandas as pd

    from lemmata.lab.table import Table

    # One experiment lacks constants of another; object columns keep its whole numbers whole.
    parts = [frame.astype(object).assign(experiment=name) for name, frame in result.frames.items()]
    rows = pd.concat(parts, ignore_index=True).infer_objects()
    measured = ["metric", "x", "value"]
    return Table(rows[["experiment", *rows.columns.drop(["experiment", *measured]), *measured]], {})


def _table_record(result: Result, shown: Table) -> dict[str, object]:
    return {
        "claim": result.claim.id,
        "profile": result.options.profile,
        "registered": not result.options.changes,
        "constants": shown.constants,
        "rows": shown.to_json(),
    }

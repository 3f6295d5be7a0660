"""The verbs that tell: list, cite, doctor, bench."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lemmata.cli import options
from lemmata.cli.checking import NAMES, named
from lemmata.cli.errors import DIFFERENT
from lemmata.cli.options import Asked, Whole
from lemmata.cli.output import print_json
from lemmata.cli.progress import Meter

if TYPE_CHECKING:
    from lemmata.bench.baseline import Compared
    from lemmata.lab.claim import Claim, Paper

__all__ = ["bench", "cite", "doctor", "list_"]

SOFTWARE = """\
@software{{lemmata,
  title = {{Lemmata: a laboratory for the theory of how Transformers learn}},
  author = {{{{The Lemmata authors}}}},
  version = {{{version}}},
  license = {{Apache-2.0}},
}}"""


@click.command("list")
@NAMES
@options.as_json
def list_(names: Sequence[str], as_json: bool) -> None:
    """Show which papers and claims there are.

    One line a paper and a claim, with their sources. NAME is a paper or a claim: the line then
    unfolds into the statement, each prediction with its rule, and the constants, given by the paper
    or chosen, which `--set NAME=VALUE` changes.

      lemmata list
      lemmata list icl.pruning
      lemmata list --json
    """
    from lemmata import registry

    papers, claims = registry.papers(), named(names)
    if as_json:
        of = {claim.paper for claim in claims}
        print_json(
            {
                "papers": [_paper_record(paper) for paper in papers if paper.id in of],
                "claims": [_claim_record(claim) for claim in claims],
            }
        )
    elif names:
        click.echo("\n\n".join(_unfolded(_claim_record(claim)) for claim in claims))
    else:
        from lemmata.show.terminal import claim_table, terminal

        terminal().print(claim_table(papers))


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def cite(names: Sequence[str]) -> None:
    """Print the BibTeX of papers and claims.

    NAME is a paper or a claim. A claim cites every source that its statement and its published
    numbers come from; the last entry is Lemmata itself, in the version that you run.

      lemmata cite icl.pruning >> references.bib
      lemmata cite icl
    """
    from lemmata import registry

    papers = {paper.id: paper for paper in registry.papers()}
    entries = []
    for name in names:
        if name in papers:
            entries.append(next(iter(papers[name].bibliography.values())))
        else:
            claim = registry.claims(name)[0]
            entries += [papers[claim.paper].bibliography[key] for key in claim.cites]
    entries.append(SOFTWARE.format(version=version("lemmata")))
    click.echo("\n\n".join(dict.fromkeys(entry.strip() for entry in entries)))


@click.command()
@options.where
@options.as_json
@options.asked
def doctor(asked: Asked, as_json: bool) -> None:
    """Tell what is installed, and what is missing.

    Versions, the machine and its devices, the store and its health, claims that lack an extra or
    their data, and for each thing that is missing how to get it. Put it into a bug report.

      lemmata doctor
      lemmata doctor --store results --json
    """
    from lemmata.doctor import examine

    found = examine(asked.store)
    if as_json:
        print_json(found)
    else:
        click.echo("\n".join(_sections(found)))


@click.command()
@click.argument("papers", nargs=-1, metavar="[PAPER]...")
@click.option("--rounds", type=Whole(1), default=5, show_default=True, help="Interleaved rounds.")
@click.option(
    "--against", "file", type=click.Path(path_type=Path), metavar="FILE", help="Compare with an earlier --json."
)
@options.workers
@options.compiled
@options.as_json
@options.asked
def bench(asked: Asked, papers: Sequence[str], rounds: int, file: Path | None, as_json: bool) -> None:
    """Measure the speed of training here.

    Trains a network of each PAPER, of all papers without one, as Lemmata does and as the usual
    script written for that paper does, one model at a time, in turns on the same cores. Prints
    member-steps a second, their ratio with its range over the rounds, and the share of this
    machine's own matrix-multiplication peak; with --compile for the compiled step as well. Takes
    some minutes, and wants the machine to itself.

    With --against the ratios are compared with those of an earlier run on this machine. A workload
    is slower if each of its rounds was slower than all of theirs: exit status 3.

      lemmata bench
      lemmata bench icl --compile
      lemmata bench --json > here.json
      lemmata bench --against here.json
    """
    from lemmata.bench import machine, run, workloads
    from lemmata.bench.baseline import against, check_comparable, read_baseline

    before = None if file is None else read_baseline(file)
    if before is not None:
        check_comparable(before, machine(asked.workers), workloads(papers))
    with Meter("rounds") as meter:
        found = run(rounds, papers=papers, workers=asked.workers, compile=asked.compile, progress=meter)
    compared = [] if before is None else against(found, before)
    if as_json:
        print_json(found | ({} if before is None else {"against": [_compared_record(each) for each in compared]}))
    else:
        for name, measured in found["workloads"].items():
            click.echo(name)
            click.echo("\n".join(_bench_lines(measured)))
        click.echo("\n".join([*_lines("machine", found["machine"]), *map(_compared_line, compared)]))
    if any(each.slower for each in compared):
        click.get_current_context().exit(DIFFERENT)


def _paper_record(paper: Paper) -> dict[str, Any]:
    return {
        "id": paper.id,
        "title": paper.title,
        "authors": paper.authors,
        "venue": paper.venue,
        "arxiv": paper.arxiv,
        "claims": [claim.id for claim in paper.claims],
    }


def _claim_record(claim: Claim) -> dict[str, Any]:
    from lemmata.lab.needs import missing

    return {
        "id": claim.id,
        "paper": claim.paper,
        "title": claim.title,
        "statement": claim.statement,
        "source": claim.source,
        "missing": missing(claim.needs),
        "predictions": [
            {
                "id": f"{claim.id}/{p.id}",
                "statement": p.statement,
                "kind": p.kind,
                "source": p.source,
                "prediction": p.predicted,
                "statistic": p.statistic,
                "rule": str(p.rule),
            }
            for p in claim.predictions
        ],
        "constants": [
            {
                "experiment": e.name,
                "name": name,
                "value": getattr(e.base, name),
                "origin": about.origin,
                "meaning": about.meaning,
            }
            for e in claim.experiments
            for name, about in e.base.constants().items()
        ]
        + [
            {
                "experiment": e.name,
                "name": name,
                "value": values[0] if len(values) == 1 else ", ".join(map(str, values)),
                "origin": about.origin,
                "meaning": about.meaning,
            }
            for e in claim.experiments
            for name, (about, values) in e.coordinates().items()
        ],
    }


def _unfolded(record: dict[str, Any]) -> str:
    """A claim in full, for reading."""
    lines = [f"{record['id']}  {record['title']}", record["statement"], f"source: {record['source']}"]
    lines += [f"cannot run here: {reason}" for reason in record["missing"]]
    for p in record["predictions"]:
        lines += [
            "",
            f"{p['id']} ({p['kind']}; {p['source']})",
            f"  {p['statement']}",
            f"  predicted  {p['prediction']}",
            f"  measured   {p['statistic']}",
            f"  rule       {p['rule']}",
        ]
    for experiment in dict.fromkeys(c["experiment"] for c in record["constants"]):
        lines += ["", f"constants of {experiment}, where its grid does not vary them"]
        own = [c for c in record["constants"] if c["experiment"] == experiment]
        width = max(len(f"{c['name']}={c['value']}") for c in own)
        lines += [f"  {c['name'] + '=' + str(c['value']):{width}}  {c['origin']:6}  {c['meaning']}" for c in own]
    return "\n".join(lines)


def _sections(found: dict[str, Any]) -> list[str]:
    """The doctor's findings as lines."""
    lines = [f"lemmata {found['lemmata']}", *_lines("machine", found["machine"])]
    lines += _lines("packages", found["packages"]) + _lines("store", found["store"])
    lines += ["data", f"  root {found['data'] or 'none: pass --data DIR or set LEMMATA_DATA'}"]
    lines += [f"claim {c['id']} cannot run: {reason}" for c in found["claims"] for reason in c["missing"]]
    for extra in found["extras"]:
        lacks = ", ".join(extra["missing"])
        lines.append(f"extra {extra['name']}: " + (f"lacks {lacks}; {extra['get']}" if lacks else "complete"))
    for program in found["programs"]:
        state = program["found"] or f"not found; for {program['for']}: {program['get']}"
        lines.append(f"{program['name']}: {state}")
    return lines + [f"PROBLEM\n{problem}" for problem in found["problems"]]


def _lines(title: str, values: dict[str, Any]) -> list[str]:
    width = max(map(len, values), default=0)
    return [title, *(f"  {name:{width}}  {_text(value)}" for name, value in values.items())]


def _text(value: object) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _bench_lines(measured: dict[str, float]) -> list[str]:
    return [
        f"  {measured['rate']:,.0f} member-steps a second, {measured['naive_rate']:,.0f} by the usual script",
        f"  {measured['ratio']:.1f} times as fast ({measured['ratio_lo']:.1f} to {measured['ratio_hi']:.1f})",
        f"  {measured['share_of_peak']:.0%} of the sgemm peak of {measured['sgemm_gflops']:.0f} GFLOP/s",
        f"  {measured['rss_mb']:.0f} MB at most",
    ]


def _compared_record(each: Compared) -> dict[str, Any]:
    names = ("ratio", "ratio_lo", "ratio_hi")
    runs = {"before": each.before, "now": each.now}
    ratios = {run: dict(zip(names, found, strict=True)) for run, found in runs.items()}
    return {"workload": each.name, **ratios, "slower": each.slower, "faster": each.faster}


def _compared_line(each: Compared) -> str:
    verdict = "slower than" if each.slower else "faster than" if each.faster else "as fast as"
    now, before = (f"{ratio:.1f} ({lo:.1f} to {hi:.1f})" for ratio, lo, hi in (each.now, each.before))
    return f"{each.name} is {verdict} before: {now} times the script, was {before}"

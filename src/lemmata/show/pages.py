"""One page a paper, made from its claims: what is asked, how it is decided, what is trained for it.

    python -m lemmata.show.pages docs/papers

No verdict stands on it, since verdicts come from runs.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from lemmata.lab.claim import Claim, Paper, Prediction
from lemmata.lab.files import write_whole
from lemmata.lab.grid import PROFILES, Experiment, Profile
from lemmata.lab.trainee import Constant, Measure, Trainee, Value
from lemmata.show.notation import html
from lemmata.show.words import count, number, setting

__all__ = ["main", "page"]

MOST_LISTED = 10

HEAD = """\
# {title}

{authors}. {venue}, [arXiv {arxiv}](https://arxiv.org/abs/{arxiv}).

What is asked of this paper, how each question is decided, and what is trained for it. The page is made from
the claims themselves, by `python -m lemmata.show.pages docs/papers`. What came out is not on it: that is for a
run to say, `lemmata check {id}` and then `lemmata report`.

A prediction is of one of four kinds. It *holds* where something is promised inside its region, it is *tight* where a
scaling or a condition is, a *mechanism* is how the network does it, a *comparison* sets one thing against another.
The rule was fixed before the run and looks at a 95 % interval over seeds; [Statistics](../statistics.md) says how.
A constant is *given* where the paper states it and *chosen* where the paper leaves it open; choosing was done on
seeds from 1000 on, which no verdict reads."""
EXPERIMENTS = """\
## Experiments

What is trained and measured for the claims; several may read one experiment. Where *other settings* are listed, every
prediction is also estimated at these values of what the paper leaves open. Such estimates are reported beside the
verdict and have no part in it."""


def page(paper: Paper) -> str:
    """The page of a paper, in Markdown.

    >>> from lemmata import icl
    >>> page(icl.PAPER).splitlines()[0]
    '# How Do Nonlinear Transformers Learn and Generalize in In-Context Learning?'
    """
    experiments = {e.name: e for claim in paper.claims for e in claim.experiments}
    networks = {e.base.kind: type(e.base) for e in experiments.values()}
    about = {name: getattr(paper, name) for name in ("title", "authors", "venue", "arxiv", "id")}
    blocks = [HEAD.format(**about), _overview(paper.claims)]
    for claim in paper.claims:
        blocks += _claim(claim)
    blocks.append(EXPERIMENTS)
    for experiment in experiments.values():
        blocks += _experiment(experiment, [c for c in paper.claims if experiment in c.experiments])
    blocks.append("## Networks\n\nThe constants that `--set NAME=VALUE` changes, with their usual values.")
    for network in networks.values():
        blocks += _network(network)
    return "\n\n".join(blocks) + "\n"


def _overview(claims: Sequence[Claim]) -> str:
    rows = [(_link(claim.id), _text(claim.title), str(len(claim.predictions))) for claim in claims]
    return _table(("claim", "asks about", "predictions"), rows)


def _claim(claim: Claim) -> Iterator[str]:
    yield f"## {claim.id}\n\n**{_text(claim.title)}.** {_text(claim.statement)}"
    yield f"Source: {_text(claim.source)}. To check it: `lemmata check {claim.id}`."
    yield "\n".join(line for p in claim.predictions for line in _prediction(p))


def _prediction(p: Prediction) -> Iterator[str]:
    yield f"- **{p.id}** ({p.kind}; {_text(p.source)}). {_text(p.statement)}"
    yield f"    - measured: {_text(p.statistic)}, in {_link(p.of.name, 'Experiment ')}"
    yield f"    - predicted: {_text(p.predicted)}"
    yield f"    - rule: {p.rule}"


def _experiment(e: Experiment, readers: Sequence[Claim]) -> Iterator[str]:
    yield f"### Experiment {e.name}"
    yield f"Read by {', '.join(_link(claim.id) for claim in readers)}."
    yield _table(("profile", "seeds", "conditions", "networks", "at other settings"), _sizes(e))
    lines = [f"- trained: {_trained(e)}", *_conditions(e), *map(_measured, e.measures)]
    if coordinates := e.coordinates():
        told = "; ".join(f"`{n}` ({about.origin}), {_text(about.meaning)}" for n, (about, _) in coordinates.items())
        lines.append(f"- `--set` also changes where it is measured: {told}")
    yield "\n".join(lines)
    if e.settings:
        yield _table(("other setting", "changes"), [(name, f"`{setting(c)}`") for name, c in e.settings.items()])


def _sizes(e: Experiment) -> Iterator[tuple[str, ...]]:
    for profile in PROFILES:
        registered = e.cells(profile)
        others = sum(len(e.cells(profile, setting=name)) for name in e.settings)
        seeds = len({cell.seed for cell in registered})
        yield profile, str(seeds), str(len(registered) // seeds), str(len(registered)), str(others)


def _trained(e: Experiment) -> str:
    """The network, and the constants in which this experiment differs from its usual values."""
    usual = type(e.base)()
    own = {name: value for name, value in _constants(e.base).items() if value != getattr(usual, name)}
    return _link(e.base.kind) + (f" with `{setting(own)}`" if own else "")


def _conditions(e: Experiment) -> Iterator[str]:
    """What varies, once for the profiles that share it."""
    by_points: dict[str, list[Profile]] = {}
    for profile in PROFILES:
        by_points.setdefault(_varied(e.points.at(profile)), []).append(profile)
    for varied, profiles in by_points.items():
        which = "" if len(profiles) == len(PROFILES) else f" ({' and '.join(profiles)})"
        if varied:
            yield f"- varied{which}: {varied}"


def _varied(points: Sequence[Mapping[str, Value]]) -> str:
    """The grid, or each grid of points that vary the same constants."""
    grids: dict[tuple[str, ...], list[Mapping[str, Value]]] = {}
    for point in points:
        grids.setdefault(tuple(point), []).append(point)
    return ", and ".join(_grid(grid) for grid in grids.values())


def _grid(points: Sequence[Mapping[str, Value]]) -> str:
    values = {name: list(dict.fromkeys(point[name] for point in points)) for name in points[0]}
    if 1 < len(points) <= MOST_LISTED and len(values) > 1:
        return "; ".join(f"`{setting(point)}`" for point in points)
    each = "; ".join(f"`{name}` = {_listed(found)}" for name, found in values.items())
    every = len(points) == math.prod(map(len, values.values()))
    return each if every else f"{each}; {count(len(points), 'combination')} of these"


def _measured(m: Measure) -> str:
    own = "; ".join(f"`{f.name}` = {_listed(getattr(m, f.name))}" for f in fields(m))
    return f"- measured: {_first_line(type(m))}" + (f" ({own})" if own else "")


def _network(network: type[Trainee]) -> Iterator[str]:
    yield f"### {network.kind}\n\n{_first_line(network)}."
    about, values = network.constants(), _constants(network())
    rows = [(f"`{n}`", number(values[n]), _range(c, values[n]), c.origin, _text(c.meaning)) for n, c in about.items()]
    yield _table(("constant", "value", "may be", "origin", "meaning"), rows)


def _constants(trainee: Trainee) -> dict[str, Value]:
    return {name: getattr(trainee, name) for name in trainee.constants()}


def _range(about: Constant, value: Value) -> str:
    if isinstance(value, bool):
        return "true, false"
    if about.choices:
        return ", ".join(about.choices)
    if math.isfinite(about.low) and math.isfinite(about.high):
        return f"{number(about.low)} to {number(about.high)}"
    return f"at least {number(about.low)}" if math.isfinite(about.low) else "any"


def _first_line(kind: type[Trainee] | type[Measure]) -> str:
    return _text((kind.__doc__ or "").partition("\n")[0].rstrip("."))


def _listed(value: object) -> str:
    return ", ".join(map(number, value)) or "none" if isinstance(value, tuple | list) else number(value)


def _link(name: str, before: str = "") -> str:
    """A link to the heading of this name, whose anchor mkdocs and code hosts make alike."""
    anchor = re.sub(r"[^\w -]", "", f"{before}{name}").lower().replace(" ", "-")
    return f"[{name}](#{anchor})"


def _text(words: str) -> str:
    """Plain words with their notation, safe in a table."""
    return str(html(words)).replace("&#39;", "'").replace("&#34;", '"').replace("|", "&#124;").replace("*", "&#42;")


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(args: Sequence[str] | None = None) -> None:
    """Write the pages of the built-in papers into a folder."""
    from lemmata.registry import BUILT_IN

    parser = argparse.ArgumentParser(prog="python -m lemmata.show.pages", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="where the pages go, one Markdown file a paper")
    folder: Path = parser.parse_args(args).folder
    for paper in BUILT_IN:
        write_whole(folder / f"{paper.id}.md", page(paper).encode())


if __name__ == "__main__":
    main()

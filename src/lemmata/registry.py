"""Which papers and claims there are: the built-in ones, a line each, and the user's own.

A paper from elsewhere registers through the entry point group `lemmata.papers`: metadata of an
installed package that name an object which is a `Paper`. docs/extend.md shows all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from lemmata import cot, editing, graph, icl, vision
from lemmata.lab.claim import Claim, Paper
from lemmata.lab.errors import RegistryError, StoreError, UnknownNameError, nearest
from lemmata.lab.grid import Cell, Experiment
from lemmata.lab.trainee import Trainee

__all__ = ["BUILT_IN", "GROUP", "cell", "claim", "claims", "paper_of", "papers", "trainee"]

GROUP = "lemmata.papers"

BUILT_IN: tuple[Paper, ...] = (
    icl.PAPER,
    cot.PAPER,
    editing.PAPER,
    vision.PAPER,
    graph.PAPER,
)


def papers() -> tuple[Paper, ...]:
    """The built-in papers, then the user's own in the order of their entry points' names.

    Raises:
        RegistryError: an entry point does not load or is no `Paper`, an id is not its own, or a
            claim cites what its paper's bibliography lacks.

    >>> papers()[0].id
    'icl'
    """
    found: list[Paper] = []
    for paper in BUILT_IN:
        _admit(paper, found, "the built-in papers")
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        where = f"the entry point {point.name} = {point.value}"
        _admit(_load(point, where), found, where)
    return tuple(found)


def claim(id: str) -> Claim:
    """The claim of this id.

    Raises:
        UnknownNameError: no paper has it; the message names the nearest.

    >>> claim("icl.pruning").paper
    'icl'
    """
    known = {c.id: c for paper in papers() for c in paper.claims}
    if id not in known:
        raise UnknownNameError("the id of a claim", id, nearest(id, known))
    return known[id]


def claims(name: str) -> list[Claim]:
    """The claims of a paper, or the one claim, of this name.

    Raises:
        UnknownNameError: neither a paper nor a claim has it; the message names the nearest.

    >>> [c.id for c in claims("icl.pruning")]
    ['icl.pruning']
    """
    known = papers()
    groups = {p.id: list(p.claims) for p in known} | {c.id: [c] for p in known for c in p.claims}
    if name not in groups:
        raise UnknownNameError("the id of a paper or a claim", name, nearest(name, groups))
    return groups[name]


def paper_of(kind: str) -> Paper:
    """The paper whose claims train this kind.

    Raises:
        UnknownNameError: no claim trains such a thing; the message names the nearest.

    >>> paper_of("icl.one-layer").id
    'icl'
    """
    known = {e.base.kind: paper for paper in papers() for e in _experiments(paper)}
    if kind not in known:
        raise UnknownNameError("a kind of network that some claim trains", kind, nearest(kind, known))
    return known[kind]


def trainee(kind: str) -> type[Trainee]:
    """The class of the trainees whose results the store keeps under this kind.

    Raises:
        UnknownNameError: as for `paper_of`.
    """
    return next(type(e.base) for e in _experiments(paper_of(kind)) if e.base.kind == kind)


def cell(spec: Mapping[str, Any]) -> Cell:
    """The cell that a stored spec describes, if it still means the same computation.

    Raises:
        UnknownNameError: no registered claim trains or measures such a thing any more.
        StoreError: this version of the code would give other numbers.
    """
    kind = trainee(spec["kind"])
    experiments = [e for p in papers() for e in _experiments(p) if e.base.kind == kind.kind]
    known = {type(m).name: type(m) for e in experiments for m in e.measures}
    _refuse_stale(f"trainee {kind.kind}", spec["version"], kind.version)
    measures = []
    for each in spec["measures"]:
        name, version = each["name"], each["version"]
        if name not in known:
            raise UnknownNameError("a measure that some claim takes", name, nearest(name, known))
        _refuse_stale(f"measure {name}", version, known[name].version)
        # JSON keeps a tuple as a list; a frozen dataclass holds tuples.
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in each.items()}
        measures.append(known[name](**{f.name: values[f.name] for f in fields(known[name])}))
    return Cell(kind().replace(spec["config"]), spec["seed"], tuple(measures))


def _refuse_stale(what: str, stored: int, current: int) -> None:
    if stored != current:
        raise StoreError(
            f"a cell of {what}, version {current}, as this code computes it",
            f"version {stored}",
            "run the check of its claim, which trains it anew, and take that cell",
        )


def _load(point: EntryPoint, where: str) -> Paper:
    """The paper behind an entry point; whatever its module raises on import is the plugin's fault."""
    fix = "correct the plugin, or uninstall it"
    try:
        paper = point.load()
    except RegistryError as error:
        raise RegistryError(f"{error.expected}, at {where}", error.got, error.fix) from error
    except Exception as error:
        got = f"{type(error).__name__}: {error}"
        raise RegistryError(f"an object that loads at {where}", got, fix) from error
    if not isinstance(paper, Paper):
        raise RegistryError(f"a lemmata.Paper at {where}", f"a {type(paper).__name__}", fix)
    return paper


def _admit(paper: Paper, found: list[Paper], where: str) -> None:
    """Append a paper whose ids are its own and whose citations can be printed."""
    taken = {id for p in found for id in [p.id, *(c.id for c in p.claims)]}
    for id in [paper.id, *(c.id for c in paper.claims)]:
        if id in taken:
            raise RegistryError(f"ids that nothing else has, at {where}", f"{id} twice", "rename one")
        taken.add(id)
    for c in paper.claims:
        if c.paper != paper.id:
            fix = f"call it {paper.id}.{c.id.rpartition('.')[2]}"
            raise RegistryError(f"claims of {paper.id} named {paper.id}.*, at {where}", c.id, fix)
        for key in c.cites:
            if key not in paper.bibliography:
                fix = nearest(key, paper.bibliography)
                raise RegistryError(f"citations of {c.id} in the bibliography, at {where}", key, fix)
    kinds = {e.base.kind: type(e.base) for p in found for e in _experiments(p)}
    for e in _experiments(paper):
        if kinds.setdefault(e.base.kind, type(e.base)) is not type(e.base):
            fix = "choose another `kind`: the store keeps results under it"
            raise RegistryError(f"one class of trainee a kind, at {where}", e.base.kind, fix)
    found.append(paper)


def _experiments(paper: Paper) -> Iterator[Experiment]:
    for c in paper.claims:
        yield from c.experiments

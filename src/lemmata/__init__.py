"""Lemmata: a laboratory for the theory of how Transformers learn.

A claim of a paper is checked by training what it needs and judging its predictions by rules fixed before the run:

    import lemmata
    result = lemmata.claim("icl.pruning").check(seeds=10)
    result.verdicts, result.table.to_pandas(), lemmata.figure(result)

Names load when they are first used, so that `lemmata --help` does not wait for torch.
"""

import os
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lemmata import cot as cot
    from lemmata import editing as editing
    from lemmata import graph as graph
    from lemmata import icl as icl
    from lemmata import vision as vision
    from lemmata.lab.claim import Claim as Claim
    from lemmata.lab.claim import Paper as Paper
    from lemmata.lab.claim import Prediction as Prediction
    from lemmata.lab.errors import LemmataError as LemmataError
    from lemmata.lab.grid import ByProfile as ByProfile
    from lemmata.lab.grid import Experiment as Experiment
    from lemmata.registry import claim as claim
    from lemmata.registry import papers as papers
    from lemmata.show.draw import figure as figure
    from lemmata.show.report import report as report

# MKL rounds small products by where in memory they begin unless it is told not to, which costs no time; then a
# network's numbers do not depend on its place among those trained with it. MKL reads this once, at its first product,
# and workers inherit it. A setting of the user's own stays.
os.environ.setdefault("MKL_CBWR", "AUTO")

__version__ = version("lemmata")

_PAPERS = ("cot", "editing", "graph", "icl", "vision")
_HOMES = {
    "ByProfile": "lemmata.lab.grid",
    "Claim": "lemmata.lab.claim",
    "Experiment": "lemmata.lab.grid",
    "LemmataError": "lemmata.lab.errors",
    "Paper": "lemmata.lab.claim",
    "Prediction": "lemmata.lab.claim",
    "claim": "lemmata.registry",
    "figure": "lemmata.show.draw",
    "papers": "lemmata.registry",
    "report": "lemmata.show.report",
}
__all__ = [
    "ByProfile",
    "Claim",
    "Experiment",
    "LemmataError",
    "Paper",
    "Prediction",
    "claim",
    "cot",
    "editing",
    "figure",
    "graph",
    "icl",
    "papers",
    "report",
    "vision",
]


def __getattr__(name: str) -> object:
    if name in _PAPERS:
        return import_module(f"lemmata.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'lemmata' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

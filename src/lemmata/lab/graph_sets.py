"""Graphs by name: PubMed, Cora, Actor and PascalVOC-SP as PyG reads them, and superpixels of local images.

    name           what                                            below the data root
    PubMed, Cora   papers and their citations                      planetoid/NAME/raw
    Actor          actors on the same page of an encyclopaedia     actor/raw
    PascalVOC-SP   superpixels of one photograph, the first        lrgb/pascalvoc-sp/raw
    superpixels    superpixels of a mosaic of CIFAR-10's images    cifar10

PyG's loaders write beside the raw files, so these are copied to a temporary folder first; what is missing is not looked
for on the network. The raw files of Planetoid and PascalVOC-SP are pickles, which PyG's own loaders read: the one
exception to reading none, and only for files that the user points to.
"""

from __future__ import annotations

import functools
import io
import shutil
import tempfile
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from lemmata.lab.errors import DataError, UnknownNameError, nearest
from lemmata.lab.graphs import Graph, graph_of, kept
from lemmata.lab.needs import data_root, missing
from lemmata.lab.superpixels import superpixels

__all__ = ["NAMES", "needs", "open_graph"]

# The folder of each below the data root.
FOLDERS = {
    "PubMed": "planetoid/PubMed",
    "Cora": "planetoid/Cora",
    "Actor": "actor",
    "PascalVOC-SP": "lrgb/pascalvoc-sp",
    "superpixels": "cifar10",
}
NAMES = tuple(FOLDERS)
PYG = "torch_geometric"


def needs(name: str) -> tuple[str, ...]:
    """What a named graph needs, as `lemmata.lab.needs.missing` understands it.

    >>> needs("Actor")
    ('extra:torch_geometric', 'data:actor')
    """
    return (*([] if name == "superpixels" else [f"extra:{PYG}"]), f"data:{FOLDERS[name]}")


def open_graph(name: str) -> Graph:
    """The graph of this name, or of a key that `lemmata.lab.graphs.keep` returned; read once in a process.

    Raises:
        UnknownNameError: there is no such graph.
        DataError: its files or PyG are missing, or the files are not what they should be.

    >>> open_graph("PubMid")
    Traceback (most recent call last):
    lemmata.lab.errors.UnknownNameError: expected the name of a graph
    got      PubMid
    fix      did you mean PubMed?
    """
    if name.startswith("graph-"):
        return kept(name)
    if name not in FOLDERS:
        raise UnknownNameError("the name of a graph", name, nearest(name, NAMES))
    if reasons := missing(needs(name)):
        raise DataError(f"what the graph {name} needs", "; ".join(reasons), "or name a file of your own: FILE.npz")
    return _opened(name, data_root() or Path())


@functools.cache
def _opened(name: str, root: Path) -> Graph:
    folder = root / FOLDERS[name]
    if name == "superpixels":
        return superpixels(folder)
    readers: dict[str, Callable[[str, str], Any]] = {"Actor": _actor, "PascalVOC-SP": _photograph}
    try:
        data = _read_copy(folder, name, readers.get(name, _planetoid))
    except DataError:
        raise
    # A loader of somebody else's, on files of somebody else's: whatever it raises, the files are not what it wants.
    except Exception as error:
        got = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise DataError(
            f"the raw files of {name} in {folder}", got, "copy them there as PyG's loader wants them"
        ) from error
    return graph_of(data.edge_index.numpy(), data.x.numpy(), data.y.numpy(), name=name)


def _read_copy(folder: Path, name: str, read: Callable[[str, str], Any]) -> Any:
    """What a loader makes of a copy of the raw files."""
    raw = folder / "raw"
    if not raw.is_dir():
        raise DataError(f"the raw files of {name}", f"no folder {raw}", "copy them there as PyG's loader wants them")
    with tempfile.TemporaryDirectory() as copy, warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        # PyG warns of what is its own to mend, and says that it is reading.
        warnings.simplefilter("ignore")
        # Planetoid wants a folder of its own name, LRGB one of the name in small letters.
        for own in (copy, f"{copy}/{name}", f"{copy}/{folder.name}"):
            shutil.copytree(raw, f"{own}/raw", dirs_exist_ok=True)
        return read(copy, name)


def _local(loader: Any) -> Any:
    """The same loader, which does not look for missing files on the network."""

    class Local(loader):
        """It, without the network."""

        def download(self) -> None:
            missed = [path.name for path in map(Path, self.raw_paths) if not path.exists()]
            raise FileNotFoundError(f"no {', '.join(missed)}")

    return Local


def _planetoid(copy: str, name: str) -> Any:
    from torch_geometric.datasets import Planetoid

    return _local(Planetoid)(copy, name)[0]


def _actor(copy: str, name: str) -> Any:
    from torch_geometric.datasets import Actor

    return _local(Actor)(copy)[0]


def _photograph(copy: str, name: str) -> Any:
    """The first graph of the training set, its classes numbered without gaps: most photographs show few of the 21."""
    import torch
    from torch_geometric.datasets import LRGBDataset

    data: Any = _local(LRGBDataset)(copy, name, split="train")[0]
    data.y = torch.unique(data.y, return_inverse=True)[1]
    return data

"""A graph of one's own: its name, an .npz file of arrays, or a .pt file of tensors.

    FILE.npz   edges (2, E), features (N, C), labels (N,); -1 is no label
    FILE.pt    a dictionary of tensors edge_index, x, y, as `torch.save(dict(data.to_dict()), FILE)` writes PyG's Data

Neither is unpickled: arrays are read without objects, tensors with `weights_only`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lemmata.lab.errors import DataError, InputError
from lemmata.lab.graph_sets import NAMES, open_graph
from lemmata.lab.graphs import Graph, graph_of, keep

__all__ = ["read_graph"]

ARRAYS = ("edges", "features", "labels")
TENSORS = ("edge_index", "x", "y")
NPZ = 'write one with numpy.savez("mine.npz", edges=edges, features=features, labels=labels)'
PT = 'write one with torch.save({"edge_index": data.edge_index, "x": data.x, "y": data.y}, "mine.pt")'


def read_graph(name: str) -> Graph:
    """The graph of this name, or in this file; kept, so that its key is known to what trains on it.

    Raises:
        InputError: no such name or file, or a graph that cannot be one.
        DataError: a file that is not what its ending says, or lacks a part.
    """
    path = Path(name)
    if name in NAMES:
        graph = open_graph(name)
    elif path.suffix.lower() == ".npz":
        graph = graph_of(*_arrays(_existing(path)), name=path.stem)
    elif path.suffix.lower() == ".pt":
        graph = graph_of(*_tensors(_existing(path)), name=path.stem)
    else:
        raise InputError(f"one of {', '.join(NAMES)}, or a file .npz or .pt", name, NPZ)
    keep(graph)
    return graph


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise InputError("a file of a graph", f"{path}, which does not exist", "name one that does")
    return path


def _arrays(path: Path) -> tuple[Any, ...]:
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: np.asarray(file[name]) for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile, AttributeError) as error:
        raise DataError("an .npz file of plain arrays", f"{path}: {_words(error)}", NPZ) from error
    return _parts(path, found, ARRAYS, NPZ)


def _tensors(path: Path) -> tuple[Any, ...]:
    try:
        found = torch.load(path, weights_only=True, map_location="cpu")
    # What torch raises of a file that is none, or that holds more than tensors, differs from version to version.
    except Exception as error:
        raise DataError("a .pt file of tensors and nothing else", f"{path}: {_words(error)}", PT) from error
    if not isinstance(found, Mapping):
        raise DataError("a dictionary of tensors", f"{path} with a {type(found).__name__}", PT)
    parts = _parts(path, found, TENSORS, PT)
    if odd := [name for name, part in zip(TENSORS, parts, strict=True) if not isinstance(part, torch.Tensor)]:
        raise DataError("tensors", f"{odd[0]} of {path} is none", PT)
    return tuple(part.numpy() for part in parts)


def _parts(path: Path, found: Mapping[Any, Any], names: tuple[str, ...], fix: str) -> tuple[Any, ...]:
    if lacking := [name for name in names if name not in found]:
        got = f"{path} with {', '.join(map(str, found)) or 'nothing'}"
        raise DataError(f"{', '.join(names)} in the file", f"{got}, without {lacking[0]}", fix)
    return tuple(found[name] for name in names)


def _words(error: Exception) -> str:
    return f"{type(error).__name__} {' '.join(str(error).split())[:160]}"

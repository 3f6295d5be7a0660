"""The file that a chunk of cells leaves: tidy rows in Parquet, with the cells' specs in its metadata.

The columns are

    cell, seed, status, seconds | the constants of the config | the rows' coordinates | metric, x, value

`seconds` is the chunk's time divided by its cells. The metadata key `lemmata` holds JSON: the format, the
spec of every cell by its id (a cell may have no row), and the provenance: how, where and when it was run.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lemmata.lab.errors import RegistryError
from lemmata.lab.grid import CellResult
from lemmata.lab.trainee import Trainee, Value

__all__ = ["FORMAT", "ROW", "WHO", "Header", "constants", "decode", "encode", "header"]

FORMAT = 1
WHO = ("cell", "seed", "status", "seconds")
ROW = ("metric", "x", "value")
TYPES = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}


@final
@dataclass(frozen=True)
class Header:
    """What a shard says about itself: the specs of its cells by id, and how they were trained."""

    specs: Mapping[str, dict[str, Any]]
    provenance: Mapping[str, Any]


def encode(
    results: Sequence[CellResult], *, seconds: float, provenance: Mapping[str, object]
) -> bytes:
    """The file of a chunk of cells of one kind, trained together in `seconds`.

    Raises:
        RegistryError: a measure names a coordinate like a constant or like another column.
    """
    about = {
        "format": FORMAT,
        "cells": {result.cell.id: result.cell.spec for result in results},
        "provenance": {**provenance, "seconds": seconds},
    }
    table = _table(results, seconds).replace_schema_metadata({b"lemmata": json.dumps(about)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def header(data: bytes) -> Header:
    """The metadata of a shard."""
    about = json.loads(pq.read_metadata(pa.BufferReader(data)).metadata[b"lemmata"])
    return Header(about["cells"], about["provenance"])


def decode(data: bytes, ids: Iterable[str]) -> pa.Table:
    """The rows of some of a shard's cells, each cell's in the order measured."""
    table = pq.read_table(pa.BufferReader(data))
    return table.filter(pc.is_in(table["cell"], pa.array(ids, pa.string())))


def constants(config: Trainee) -> dict[str, pa.DataType]:
    """The columns of a config's constants, with the type of their defaults: 1 for 1.0 is a float."""
    return {f.name: TYPES[type(f.default)] for f in dataclasses.fields(config)}


def _table(results: Sequence[CellResult], seconds: float) -> pa.Table:
    """One line a row, in the order of the cells and then as measured."""
    rows = [(result, row) for result in results for row in result.rows]
    coordinates = sorted({name for _, row in rows for name in row.at})
    config = constants(results[0].cell.config)
    columns = {
        "cell": pa.array([result.cell.id for result, _ in rows], pa.string()),
        "seed": pa.array([result.cell.seed for result, _ in rows], pa.int64()),
        "status": pa.array([result.status for result, _ in rows], pa.string()),
        "seconds": pa.array([seconds / len(results)] * len(rows), pa.float64()),
        **{
            name: pa.array([getattr(result.cell.config, name) for result, _ in rows], kind)
            for name, kind in config.items()
        },
        **{name: _coordinate([row.at.get(name) for _, row in rows]) for name in coordinates},
        "metric": pa.array([row.metric for _, row in rows], pa.string()),
        "x": pa.array([row.x for _, row in rows], pa.float64()),
        "value": pa.array([row.value for _, row in rows], pa.float64()),
    }
    names = [*WHO, *config, *coordinates, *ROW]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise RegistryError(
            "columns with different names from a trainee and its measures",
            f"{', '.join(twice)} twice in {results[0].cell.config.kind}",
            f"rename the constant or the coordinate (other columns are {', '.join(WHO + ROW)})",
        )
    return pa.table(columns)


def _coordinate(values: Sequence[Value | None]) -> pa.Array:
    """Null where a row lacks it. A number is a float, since whole numbers with nulls would be one anyway."""
    kinds = {type(value) for value in values if value is not None}
    return pa.array(values, TYPES[kinds.pop()] if kinds in ({str}, {bool}) else pa.float64())

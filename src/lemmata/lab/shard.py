"""The file that a chunk of cells leaves: tidy rows in Parquet, the cells' specs in its metadata.

The columns are

    cell, seed, status, seconds | constants of the config | coordinates of the rows | metric, x, value

`seconds` is the chunk's time divided by its cells. The metadata key `lemmata` holds JSON: the format,
the spec of every cell by its id (a cell may have no row), and the parts: of each chunk its cells, and how, where and
when it was trained. A chunk leaves a shard of one part; shards can be joined.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lemmata.lab.errors import RegistryError, StoreError
from lemmata.lab.grid import Cell, CellResult
from lemmata.lab.trainee import Trainee, Value

if TYPE_CHECKING:  # a worker only encodes, and pandas is a large import
    import pandas as pd

__all__ = ["FORMAT", "Header", "cells", "columns", "decode", "encode", "header", "join", "tidy"]

FORMAT = 2
TYPES = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
WHO = {"cell": pa.string(), "seed": pa.int64(), "status": pa.string(), "seconds": pa.float64()}
ROW = {"metric": pa.string(), "x": pa.float64(), "value": pa.float64()}


@final
@dataclass(frozen=True)
class Header:
    """What a shard says about itself: the specs of its cells by id, and how its chunks were trained.

    A part is a chunk's provenance, with its `seconds` and the ids of its `cells`.
    """

    specs: Mapping[str, dict[str, Any]]
    parts: tuple[Mapping[str, Any], ...]

    @property
    def kind(self) -> str:
        """What was trained."""
        return next(iter(self.specs.values()))["kind"]

    @property
    def version(self) -> int:
        """The version of it."""
        return next(iter(self.specs.values()))["version"]


def encode(results: Sequence[CellResult], *, seconds: float, provenance: Mapping[str, object]) -> bytes:
    """The file of a chunk of cells of one kind, trained together in `seconds`.

    Raises:
        RegistryError: a measure names a coordinate like a constant or like another column.
    """
    specs = {result.cell.id: result.cell.spec for result in results}
    part = {**provenance, "seconds": seconds, "cells": list(specs)}
    return _file(_table(results, seconds), Header(specs, (part,)))


def join(files: Iterable[tuple[bytes, Set[str]]]) -> bytes:
    """One shard of several of the same `columns`, with those cells of each that are named."""
    specs: dict[str, dict[str, Any]] = {}
    tables, parts = [], []
    for data, ids in files:
        found = header(data)
        tables.append(decode(data, ids))
        specs |= {name: spec for name, spec in found.specs.items() if name in ids}
        parts += [part for each in found.parts if (part := _part_of(each, ids))]
    return _file(pa.concat_tables(tables), Header(specs, tuple(parts)))


def _part_of(part: Mapping[str, Any], ids: Set[str]) -> dict[str, Any] | None:
    """What is left of a chunk when some of its cells are, with their share of its seconds and work."""
    kept = [name for name in part["cells"] if name in ids]
    if not kept:
        return None
    share = len(kept) / len(part["cells"])
    return {**part, "cells": kept} | {name: part[name] * share for name in ("seconds", "work") if name in part}


def _file(table: pa.Table, about: Header) -> bytes:
    text = json.dumps({"format": FORMAT, "cells": about.specs, "parts": about.parts})
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({b"lemmata": text}), sink)
    return sink.getvalue().to_pybytes()


def header(data: bytes) -> Header:
    """The metadata of a shard.

    Raises:
        StoreError: this is no shard: not Parquet, without the metadata, or with cells of several kinds or none.
    """
    try:
        about = json.loads(pq.read_metadata(pa.BufferReader(data)).metadata[b"lemmata"])
        found = Header(about["cells"], tuple(about["parts"]))
        kinds = {(str(spec["kind"]), spec["version"], type(spec["version"])) for spec in found.specs.values()}
        known = [(spec["seed"] + 0, [m["name"] + "" for m in spec["measures"]]) for spec in found.specs.values()]
        timed = [(part["seconds"] + 0.0, set(part["cells"])) for part in found.parts]
    except (pa.ArrowInvalid, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _no_shard(f"{type(error).__name__} where its metadata should be") from error
    if not (known and timed and len(kinds) == 1 and next(iter(kinds))[2] is int):
        raise _no_shard("cells of no kind and version, or of several")
    return found


def _no_shard(got: str) -> StoreError:
    return StoreError("a shard of Lemmata", got, "take the file away: it was not written by a check")


def columns(data: bytes) -> pa.Schema:
    """The columns of a shard with their types; shards of the same ones can be joined."""
    return pq.read_schema(pa.BufferReader(data)).remove_metadata()


def decode(data: bytes, ids: Iterable[str]) -> pa.Table:
    """The rows of some of a shard's cells, each cell's in the order measured."""
    table = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
    return table.filter(pc.field("cell").isin(pa.array(list(ids), pa.string())))


def cells(data: bytes) -> set[str]:
    """The ids of the cells that have rows."""
    table = pq.ParquetFile(pa.BufferReader(data)).read(columns=["cell"], use_threads=False)
    return set(table["cell"].unique().to_pylist())


def tidy(tables: Iterable[pa.Table], cells: Sequence[Cell]) -> pd.DataFrame:
    """Decoded rows as one frame, in the order of the cells and then as measured.

    A coordinate that a row lacks is null, and one that all rows lack is left out, so that the frame is
    a function of the cells alone, whichever shards their rows come from.
    """
    config = {name: kind for cell in cells for name, kind in _constants(cell.config).items()}
    none = pa.schema({**WHO, **config, **ROW}).empty_table()
    frame = pa.concat_tables([none, *tables], promote_options="permissive").to_pandas()
    position = {cell.id: i for i, cell in enumerate(cells)}
    order = np.argsort(frame["cell"].map(position), kind="stable")
    coordinates = sorted(set(frame.columns) - set(none.column_names))
    used = [name for name in coordinates if frame[name].notna().any()]
    return frame.iloc[order][[*WHO, *config, *used, *ROW]].reset_index(drop=True)


def _constants(config: Trainee) -> dict[str, pa.DataType]:
    """The columns of a config's constants, typed like their defaults: a 1 for a 1.0 is a float."""
    return {f.name: TYPES[type(f.default)] for f in dataclasses.fields(config)}


def _table(results: Sequence[CellResult], seconds: float) -> pa.Table:
    """One line a row, in the order of the cells and then as measured."""
    rows = [(result, row) for result in results for row in result.rows]
    coordinates = sorted({name for _, row in rows for name in row.at})
    config = _constants(results[0].cell.config)
    share = seconds / len(results)
    who = [(r.cell.id, r.cell.seed, r.status, share) for r, _ in rows]
    what = [tuple(getattr(r.cell.config, name) for name in config) for r, _ in rows]
    columns = [
        *_columns(WHO, who),
        *_columns(config, what),
        *(_coordinate([row.at.get(name) for _, row in rows]) for name in coordinates),
        *_columns(ROW, [(row.metric, row.x, row.value) for _, row in rows]),
    ]
    names = [*WHO, *config, *coordinates, *ROW]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise RegistryError(
            "columns with different names from a trainee and its measures",
            f"{', '.join(twice)} twice in {results[0].cell.config.kind}",
            f"rename the constant or the coordinate; {', '.join([*WHO, *ROW])} are taken too",
        )
    return pa.table(columns, names)


def _columns(kinds: Mapping[str, pa.DataType], lines: Sequence[tuple]) -> list[pa.Array]:
    return [pa.array([line[i] for line in lines], kind) for i, kind in enumerate(kinds.values())]


def _coordinate(values: Sequence[Value | None]) -> pa.Array:
    """Null where a row lacks it. Numbers are floats, as whole numbers with nulls would become."""
    given = [value for value in values if value is not None]
    kinds = [kind for kind in (str, bool) if all(isinstance(value, kind) for value in given)]
    return pa.array(values, TYPES[kinds[0]] if kinds else pa.float64())

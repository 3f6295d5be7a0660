"""Tables: aggregated over seeds, with the intervals of `mean_t`."""

import json
import time
from io import StringIO

import numpy as np
import pandas as pd
import pytest
from showcase import frame

from lemmata.lab.errors import RegistryError
from lemmata.lab.stats import mean_t
from lemmata.lab.table import Table


def rows(**columns):
    """One stored row for each value of the columns."""
    length = max(len(v) for v in columns.values() if isinstance(v, list))
    base = {"cell": "c", "seed": 0, "status": "ok", "seconds": 1.0, "metric": "error", "x": 1.0}
    return pd.DataFrame({**base, "value": 0.5, **columns}, index=range(length))


def test_columns_are_what_varies_and_constants_what_does_not():
    table = Table.of({"lengths": frame()})
    columns = ["experiment", "m", "metric", "x", "mean", "lo", "hi", "n"]
    assert list(table.to_pandas().columns) == columns
    assert table.constants == {"lengths": {"lr": 0.5, "steps": 200, "alpha": 0.8, "sampler": "iid"}}
    assert len(table) == 2 * 6


@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_every_row_is_mean_t_of_its_seeds(seeds):
    measured = frame(seeds=seeds)
    table = Table.of({"lengths": measured}).to_pandas()
    groups = measured.groupby(["m", "x"], sort=False)["value"]
    expected = [mean_t(values.to_numpy()) for _, values in groups]
    assert [e.n for e in expected] == list(table["n"])
    for column, ends in (("mean", "value"), ("lo", "lo"), ("hi", "hi")):
        wanted = [getattr(e, ends) for e in expected]
        np.testing.assert_allclose(table[column].to_numpy(), wanted, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("failure", [np.nan, np.inf])
def test_a_diverged_member_leaves_no_mean_and_an_open_interval(failure):
    expected = mean_t([0.1, failure, 0.3])
    table = Table.of({"e": rows(seed=[0, 1, 2], value=[0.1, failure, 0.3])})
    row = table.to_pandas().iloc[0]
    assert np.isnan(expected.value) and np.isnan(row["mean"])
    assert (row["lo"], row["hi"], row["n"]) == (expected.lo, expected.hi, 3)
    assert table.to_json()[0] == {
        "experiment": "e", "metric": "error", "x": 1.0, "mean": None, "lo": None, "hi": None, "n": 3
    }  # fmt: skip


def test_a_seed_counts_once_however_often_it_was_measured():
    twice = rows(seed=[0, 0, 1], value=[0.0, 0.4, 0.6])
    once = rows(seed=[0, 1], value=[0.2, 0.6])
    pd.testing.assert_frame_equal(Table.of({"e": twice}).to_pandas(), Table.of({"e": once}).to_pandas())


def test_rows_come_in_the_order_of_the_measurements():
    measured = rows(alpha=[0.8, 0.8, 0.4, 0.4], x=[8.0, 2.0, 8.0, 2.0])
    table = Table.of({"e": measured}).to_pandas()
    assert list(zip(table["alpha"], table["x"], strict=True)) == [
        (0.8, 8.0), (0.8, 2.0), (0.4, 8.0), (0.4, 2.0)
    ]  # fmt: skip


def test_a_coordinate_that_some_rows_lack_is_a_condition_and_null():
    measured = rows(layer=[1.0, 2.0, None], sampler=pd.Categorical(["iid", "iid", "exact"]))
    table = Table.of({"e": measured})
    assert [row["layer"] for row in table.to_json()] == [1.0, 2.0, None]
    assert table.to_arrow().column("layer").null_count == 1


def test_experiments_with_other_conditions_share_one_table():
    first, second = rows(m=[32, 64]), rows(alpha=[0.5, 1.0], sampler=["iid", "exact"])
    table = Table.of({"widths": first, "shares": second})
    record = table.to_json()
    assert [row["m"] for row in record] == [32, 64, None, None]
    assert [type(row["m"]) for row in record[:2]] == [int, int]
    assert [row["alpha"] for row in record] == [None, None, 0.5, 1.0]
    assert table.to_arrow().num_rows == 4


def test_every_format_says_the_same():
    table = Table.of({"lengths": frame()})
    text = table.to_csv()
    again = pd.read_csv(StringIO(text))
    assert text.startswith("experiment,m,metric,x,mean,lo,hi,n\nlengths,32,error,0,")
    np.testing.assert_allclose(again["mean"], table.to_pandas()["mean"])
    assert table.to_arrow().to_pandas().equals(table.to_pandas())
    assert json.loads(json.dumps(table.to_json(), allow_nan=False)) == table.to_json()
    assert table._repr_html_().count("<tr") == len(table) + 1
    assert repr(table).startswith("Table of 12 rows")


def test_what_is_handed_out_does_not_change_the_table():
    table = Table.of({"lengths": frame()})
    handed = table.to_pandas()
    handed["mean"] = 7.0
    assert (table.to_pandas()["mean"] < 1).all()


def test_nothing_measured_is_an_empty_table():
    table = Table.of({})
    assert len(table) == 0 and table.to_json() == []
    assert table.to_csv() == "experiment,metric,x,mean,lo,hi,n\n"


def test_a_constant_named_as_a_column_of_the_table_is_refused():
    with pytest.raises(RegistryError, match="not named as a column of the table\ngot      n"):
        Table.of({"e": rows(n=[1, 2])})


def test_tens_of_thousands_of_groups_take_no_loop():
    groups, seeds = 30_000, 5
    values = np.random.default_rng(0).normal(size=groups * seeds)
    x = np.repeat(np.arange(groups, dtype=float), seeds)
    measured = rows(x=list(x), seed=list(np.tile(np.arange(seeds), groups)), value=list(values))
    start = time.process_time()
    table = Table.of({"e": measured}).to_pandas()
    # A call of mean_t a group takes about ten seconds.
    assert time.process_time() - start < 3
    np.testing.assert_allclose(table["mean"], values.reshape(groups, seeds).mean(1))

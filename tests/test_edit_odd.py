"""Odd checkpoints of `lemmata edit`: names, copies of one weight, quantised or huge weights, rows of great length."""

import json
import os
import warnings

import numpy as np
import pytest
import torch
from checkpoints import load, save, tuned, weights
from safetensors.torch import save_file

from lemmata.lab.errors import DataError, InputError
from lemmata.tools.card import Entry, card
from lemmata.tools.checkpoint import open_checkpoint
from lemmata.tools.edit import edit
from lemmata.tools.recipes import Recipe
from lemmata.tools.vectors import copies

TIED = {"tie_word_embeddings": True}
EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
RECIPES = [Recipe(), Recipe(rank=1), Recipe(keep_rows=0.2), Recipe(ties=0.3), Recipe(dare=0.5)]


# Names

NAMES = [
    "a|b`c",
    "n\nl",
    "emoji \U0001f600",
    os.fsdecode(b"by\xffte"),
    "-dash",
    'it\'s "one"',
    "$(x);",
    "a:0.5:1",
    "%s {}",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_folder_may_have_any_name(shell, name):
    save(name, weights(), config={"model_type": "llama"})
    save(f"{name}-ft", tuned(weights(), 1))
    record = shell.run("edit", "--base", f"./{name}", "--add", f"./{name}-ft:0.5", "-o", f"{name}-out", "--json").json
    assert record["vectors"][0]["coefficient"] == 0.5
    shell.run("edit", "--base", f"./{name}", "--add", f"./{name}-ft:0.5", "-o", f"{name}-out", "--force")
    text = (shell.folder / f"{name}-out" / "README.md").read_bytes().decode("utf-8")
    front = text.split("---\n")[1].splitlines()
    assert json.loads(front[1].removeprefix("base_model: ")) == name.encode("utf-8", "replace").decode()
    (row,) = [line for line in text.splitlines() if line.endswith("| full weights | +0.5 |")]
    assert row.replace("\\|", "").count("|") == 4


def test_a_name_in_a_card_is_code(tmp_path):
    base = open_checkpoint(save(tmp_path / "base", weights()))
    text, _ = card(base, [Entry("a``b|c", "weights", 1.0)], Recipe())
    assert "| ```a``b\\|c``` | full weights | +1 |" in text


def test_tensors_may_have_any_name(tmp_path):
    odd = {'q"\n/..\\\U0001f600': torch.ones(2, 2), "": torch.ones(3), " ": torch.tensor(2.0)}
    save_file(odd, tmp_path / "w.safetensors")
    edit(tmp_path / "w.safetensors", [(tmp_path / "w.safetensors", 1.0)], tmp_path / "out")
    found = load(tmp_path / "out")
    assert found.keys() == odd.keys() and all(torch.equal(w, odd[name]) for name, w in found.items())


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_tensors_of_no_size_and_of_no_shape(tmp_path, recipe):
    base = {"none": torch.zeros(0, 5), "row": torch.zeros(3, 0), "one": torch.tensor(2.0), "i": torch.zeros(0).long()}
    paths = save(tmp_path / "b", base), save(tmp_path / "f", base | {"one": torch.tensor(4.0)})
    edit(paths[0], [(paths[1], 1.0)], tmp_path / "out", recipe=recipe)
    found = load(tmp_path / "out")
    assert {name: (w.shape, w.dtype) for name, w in found.items()} == {n: (w.shape, w.dtype) for n, w in base.items()}
    assert found["one"] == 4 or recipe.dare


# Copies of one weight


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
@pytest.mark.parametrize("with_copy", [False, True])
def test_copies_stay_copies(tmp_path, recipe, with_copy):
    base, other = weights(), tuned(weights(), 1)
    copy = {HEAD: other[EMBED].clone()} if with_copy else {}
    paths = save(tmp_path / "b", base | {HEAD: base[EMBED].clone()}, config=TIED), save(tmp_path / "f", other | copy)
    edit(paths[0], [(paths[1], 0.5)], tmp_path / "out", recipe=recipe)
    found = load(tmp_path / "out")
    assert torch.equal(found[HEAD], found[EMBED]) and not torch.equal(found[EMBED], base[EMBED])


def test_copies_that_a_fine_tuning_tells_apart_are_refused(tmp_path):
    base, other = weights(), tuned(weights(), 1)
    paths = [save(tmp_path / "b", base | {HEAD: base[EMBED].clone()}, config=TIED)]
    paths.append(save(tmp_path / "f", other | {HEAD: other[EMBED] + 1}))
    with pytest.raises(DataError, match=r"copies of one weight(.|\n)*other weights"):
        edit(paths[0], [(paths[1], 0.5)], tmp_path / "out")


def test_equal_weights_are_no_copies_by_chance(tmp_path):
    """Where training starts from zeros or ones, and where nothing says that layers are tied."""
    base = {"a": torch.zeros(2, 3), "b": torch.zeros(2, 3), "c": torch.ones(2, 3), "d": torch.ones(2, 3)}
    real = {"x": torch.arange(6.0).reshape(2, 3), "y": torch.arange(6.0).reshape(2, 3), "z": torch.arange(6.0)}
    assert copies(open_checkpoint(save(tmp_path / "b", base | real, config=TIED))) == {"y": "x"}
    assert copies(open_checkpoint(save(tmp_path / "free", base | real, config={}))) == {}
    other = base | real | {"a": torch.ones(2, 3)}
    edit(tmp_path / "b", [(save(tmp_path / "f", other), 1.0)], tmp_path / "out")
    assert load(tmp_path / "out")["a"].all() and not load(tmp_path / "out")["b"].any()


# What cannot be added


@pytest.mark.parametrize("name", ["l.weight", "l.qweight", "l.weight_packed"])
def test_quantised_weights_are_no_buffers(tmp_path, name):
    """Their scales alone would be added, which makes nonsense."""
    codes = {name: torch.ones(3, 3, dtype=torch.uint8)}
    paths = save(tmp_path / "b", weights() | codes), save(tmp_path / "f", tuned(weights(), 1) | codes)
    with pytest.raises(InputError, match="before it was quantised"):
        edit(paths[0], [(paths[1], 1.0)], tmp_path / "out")
    with pytest.raises(InputError, match="before it was quantised"):
        open_checkpoint(paths[0] / "model.safetensors")


def test_a_configuration_that_says_quantised(tmp_path):
    path = save(tmp_path / "b", weights(), config={"quantization_config": {"quant_method": "gptq"}})
    with pytest.raises(InputError, match=r"so says its config\.json"):
        open_checkpoint(path)


@pytest.mark.parametrize("coefficient", [1.0, 1e308])
def test_changes_whose_norm_is_no_number_are_refused(tmp_path, coefficient):
    base, other = ({"w": torch.full((3,), value, dtype=torch.float64)} for value in (1e200, -1e200))
    paths = save(tmp_path / "b", base), save(tmp_path / "f", other)
    with pytest.raises(DataError, match="squares"):
        edit(paths[0], [(paths[1], coefficient)], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("coefficient", [1e30, -1e300, 1e308])
def test_a_huge_coefficient_is_refused_without_a_warning(tmp_path, dtype, coefficient):
    base, other = ({"w": torch.tensor([1.0, value], dtype=dtype)} for value in (2.0, 30000.0))
    paths = save(tmp_path / "b", base), save(tmp_path / "f", other)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if dtype == torch.float16 or coefficient != 1e30:
            with pytest.raises(DataError, match="can hold"):
                edit(paths[0], [(paths[1], coefficient)], tmp_path / "out")
        else:
            edit(paths[0], [(paths[1], coefficient)], tmp_path / "out")
            assert load(tmp_path / "out")["w"].isfinite().all()


# Files beside the weights


def test_weights_that_were_not_read_are_named(shell):
    save("base", weights(), config={})
    save_file({"q": torch.ones(2)}, "base/consolidated.safetensors")
    for name in ("pytorch_model.bin.index.json", "model.safetensors.index.json", "tf_model.h5.index.json"):
        (shell.folder / "base" / name).write_text("{}")
    record = shell.run("edit", "--base", "base", "--add", "base", "-o", "out", "--json").json
    assert (record["copied"], record["left_out"]) == (["config.json"], ["consolidated.safetensors"])


def test_a_file_beside_that_cannot_be_read_is_named(shell, monkeypatch):
    save("base", weights(), LICENSE="mine")

    def fails(source, target):
        raise PermissionError(13, "Permission denied", str(source))

    monkeypatch.setattr("shutil.copyfile", fails)
    assert "LICENSE: Permission denied" in shell.refuse("edit", "--base", "base", "--add", "base", "-o", "out")


def test_files_of_other_programs_are_no_weights(tmp_path):
    (tmp_path / "parts").mkdir()
    save_file(weights(), tmp_path / "parts" / "part.safetensors")
    (tmp_path / "parts" / "._part.safetensors").write_bytes(b"of a Mac")
    assert open_checkpoint(tmp_path / "parts").tensors.keys() == weights().keys()


# Rows that are longer than a slice


def test_rows_may_be_longer_than_a_slice(tmp_path, monkeypatch):
    change = np.random.default_rng(0).standard_normal((5, 40))
    paths = [save(tmp_path / "b", {"w": torch.zeros(5, 40, dtype=torch.float64)})]
    paths.append(save(tmp_path / "f", {"w": torch.tensor(change)}))
    read = []
    from lemmata.tools.checkpoint import Tensor

    plain = Tensor.read

    def counted(self, start, stop):
        read.append(stop - start)
        return plain(self, start, stop)

    monkeypatch.setattr(Tensor, "read", counted)
    monkeypatch.setattr("lemmata.tools.edit.SLICE", 16)
    monkeypatch.setattr("lemmata.tools.vectors.slices.__defaults__", (16,))
    edit(paths[0], [(paths[1], 1.0)], tmp_path / "out", recipe=Recipe(keep_rows=0.4))
    rows = np.argsort(-np.linalg.norm(change, axis=1))[:2]
    expected = np.zeros_like(change)
    expected[rows] = change[rows]
    np.testing.assert_array_equal(load(tmp_path / "out")["w"].numpy(), expected)
    assert max(read) <= 16

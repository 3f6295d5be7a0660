"""Sums of task vectors: against a plain sum in float64, and the verb `edit` as a user calls it."""

import json
import math
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from checkpoints import load, plain_sum, save, tuned, weights
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from lemmata.lab.errors import DataError, InputError
from lemmata.tools.checkpoint import Tensor
from lemmata.tools.edit import edit
from lemmata.tools.recipes import Recipe, elected
from lemmata.tools.writer import encoded

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}


@pytest.fixture
def desk(shell):
    """A folder with a base and two fine-tunings of it."""
    base = weights()
    save("base", base, config=CONFIG, tokenizer_dot_json="{}", LICENSE="mine")
    save("ft1", tuned(base, 1))
    save("ft2", tuned(base, 2))
    return shell


# The sum


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_a_sum_is_the_float64_sum_rounded_once(tmp_path, dtype):
    base = weights(dtype=dtype)
    ones, twos = tuned(base, 1), tuned(base, 2)
    paths = [save(tmp_path / name, w) for name, w in (("base", base), ("ft1", ones), ("ft2", twos))]
    edit(paths[0], [(paths[1], 1.0), (paths[2], -0.6)], tmp_path / "out")
    found, expected = load(tmp_path / "out"), plain_sum(base, (ones, 1.0), (twos, -0.6))
    assert found.keys() == base.keys()
    for name, w in found.items():
        assert w.dtype == dtype
        # Every neighbour in the dtype is farther from the sum, or as far.
        error = (w.double() - expected[name]).abs()
        for away in (math.inf, -math.inf):
            beside = neighbour(w, away)
            assert (error <= (beside.double() - expected[name]).abs()).all()


def neighbour(w, away):
    """The next number of the dtype; torch steps in float32 and float64 only."""
    if w.dtype in (torch.float32, torch.float64):
        return torch.nextafter(w, torch.full_like(w, away))
    bits = w.view(torch.int16)
    up = torch.where(w >= 0, 1, -1).to(torch.int16) * (1 if away > 0 else -1)
    return (bits + up).view(w.dtype)


def test_the_same_by_hand(tmp_path):
    base = {"w": torch.tensor([[1.0, 2.0], [3.0, 4.0]])}
    paths = [
        save(tmp_path / "base", base),
        save(tmp_path / "ft1", {"w": torch.tensor([[2.0, 2.0], [3.0, 0.0]])}),
        save(tmp_path / "ft2", {"w": torch.tensor([[1.0, 4.0], [3.0, 5.0]])}),
    ]
    edited = edit(paths[0], [(paths[1], 0.5), (paths[2], -1)], tmp_path / "out")
    assert load(tmp_path / "out")["w"].tolist() == [[1.5, 0.0], [3.0, 1.0]]
    first, second = edited.vectors
    assert first.norm == pytest.approx(math.sqrt(17)) and second.norm == pytest.approx(math.sqrt(5))
    assert (first.kept, first.changed, edited.parameters, edited.bytes) == (1, 1, 4, 16)
    assert edited.claims == ("editing.multi-task", "editing.unlearning")


def test_how_much_a_recipe_kept_is_told(tmp_path):
    base = {"w": torch.zeros(40, 50, dtype=torch.float64)}
    change = torch.randn(40, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    paths = save(tmp_path / "base", base), save(tmp_path / "ft", {"w": change})
    values = torch.linalg.svdvals(change)

    def kept(**how):
        found = edit(paths[0], [(paths[1], -0.5)], tmp_path / "out", recipe=Recipe(**how), force=True)
        assert found.vectors[0].norm == pytest.approx(change.norm().item())
        return found.vectors[0].kept

    assert kept() == 1
    assert kept(rank=2) == pytest.approx((values[:2] ** 2).sum() / (values**2).sum())
    U, s, V = torch.linalg.svd(change, full_matrices=False)
    torch.testing.assert_close(load(tmp_path / "out")["w"], -0.5 * (U[:, :2] * s[:2]) @ V[:2])
    assert kept(dare=0.75) == pytest.approx(0.25, abs=0.05)
    assert kept(ties=0.5) == pytest.approx(0.93, abs=0.03)  # as of a Gaussian


def test_one_fine_tuning_added_whole_is_the_fine_tuning(tmp_path):
    base = weights(dtype=torch.float16)
    paths = [save(tmp_path / "base", base), save(tmp_path / "ft1", tuned(base, 1))]
    edit(paths[0], [(paths[1], 1.0)], tmp_path / "out")
    assert all(torch.equal(w, tuned(base, 1)[name]) for name, w in load(tmp_path / "out").items())


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(rank=2, keep_rows=0.3), Recipe(ties=0.3), Recipe(dare=0.5)])
def test_slices_change_nothing(tmp_path, monkeypatch, recipe):
    base = weights()
    paths = [save(tmp_path / name, w) for name, w in [("b", base), ("f", tuned(base, 1)), ("g", tuned(base, 2))]]
    found = []
    for elements in (1 << 20, 14, 5):
        for module in ("edit", "vectors", "recipes"):
            monkeypatch.setattr(f"lemmata.tools.{module}.SLICE", elements)
        monkeypatch.setattr("lemmata.tools.vectors.slices.__defaults__", (elements,))
        monkeypatch.setattr("lemmata.tools.recipes.BLOCK", elements)
        edit(paths[0], [(paths[1], 1.0), (paths[2], 0.7)], tmp_path / f"out{elements}", recipe=recipe)
        found.append(load(tmp_path / f"out{elements}"))
    for other in found[1:]:
        for name, w in found[0].items():
            torch.testing.assert_close(other[name], w, rtol=1e-6, atol=1e-7)


def test_ties_shares_a_slice_among_the_vectors(tmp_path, monkeypatch):
    """It alone holds a slice of each at once."""
    held = []

    def counted(changes):
        held.append(sum(len(change) for change in changes))
        return elected(changes)

    monkeypatch.setattr("lemmata.tools.edit.elected", counted)
    monkeypatch.setattr("lemmata.tools.edit.SLICE", 30)
    base = save(tmp_path / "base", weights())
    edit(base, [(base, 1.0)] * 3, tmp_path / "out", recipe=Recipe(ties=0.5))
    assert max(held) <= 30 and sum(held) == 3 * sum(w.numel() for w in weights().values())


def test_a_fine_tuning_may_have_another_dtype(tmp_path):
    base = weights(dtype=torch.bfloat16)
    other = {name: w.float() + 0.25 for name, w in base.items()}
    paths = [save(tmp_path / "base", base), save(tmp_path / "ft1", other)]
    edited = edit(paths[0], [(paths[1], 2.0)], tmp_path / "out")
    for name, w in load(tmp_path / "out").items():
        assert torch.equal(w, (base[name].float() + 0.5).to(torch.bfloat16))
    assert (edited.vectors[0].dtypes, edited.dtypes) == (("F32",), {"BF16": 4})


@given(st.floats(width=64, min_value=-1e38, max_value=1e38))
def test_bfloat16_is_rounded_once(value):
    """Against all candidates, by exact arithmetic on the bits."""
    (bits,) = np.frombuffer(encoded(np.array([value]), Tensor("w", "BF16", (1,), None, 0)), "<u2")  # pyright: ignore
    near = [int(bits) + step for step in (-1, 0, 1) if 0 <= (int(bits) & 0x7FFF) + step < 0x7F80]
    found = {b: float(np.array([b << 16], "<u4").view("<f4")[0]) for b in near}
    distance = {b: abs(candidate - value) for b, candidate in found.items()}
    closest = [b for b in near if distance[b] == min(distance.values())]
    assert bits in closest and (len(closest) == 1 or bits % 2 == 0)


def test_a_tie_between_float32_and_bfloat16_is_broken_by_what_float32_lost():
    # 1 + 2^-8 is half way between two numbers of bfloat16; a little more has to go up, a little less down.
    half = 1 + 2.0**-8
    values = np.array([half, half + 2.0**-40, half - 2.0**-40, -half - 2.0**-40])
    bits = np.frombuffer(encoded(values, Tensor("w", "BF16", (4,), None, 0)), "<u2")  # pyright: ignore
    assert [hex(b) for b in bits] == ["0x3f80", "0x3f81", "0x3f80", "0xbf81"]


def test_whole_numbers_stay_as_they_are_in_the_base(tmp_path):
    base = weights() | {"steps": torch.tensor([3, 4]), "mask": torch.tensor([True, False])}
    other = tuned(weights(), 1) | {"steps": torch.tensor([9, 9]), "mask": torch.tensor([True, False])}
    edited = edit(save(tmp_path / "b", base), [(save(tmp_path / "f", other), 1.0)], tmp_path / "out")
    found = load(tmp_path / "out")
    assert found["steps"].tolist() == [3, 4] and found["mask"].tolist() == [True, False]
    assert edited.vectors[0].buffers == ("steps",)
    assert edited.parameters == sum(w.numel() for w in weights().values())


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["base", "ft"])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path, value, where):
    base, other = weights(), tuned(weights(), 1)
    (base if where == "base" else other)["model.norm.weight"][4] = value
    paths = save(tmp_path / "base", base), save(tmp_path / "ft", other)
    with pytest.raises(DataError, match=rf"at \[4\] of model.norm.weight in .*{where}"):
        edit(paths[0], [(paths[1], 1.0)], tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "ft"]


def test_a_sum_that_the_dtype_cannot_hold_is_refused(tmp_path):
    base = {"w": torch.ones(3, dtype=torch.float16)}
    other = {"w": torch.tensor([1.0, 60000.0, 1.0], dtype=torch.float16)}
    paths = save(tmp_path / "base", base), save(tmp_path / "ft", other)
    with pytest.raises(DataError, match=r"sums that F16 can hold\ngot      up to 1.2e\+05 in w"):
        edit(paths[0], [(paths[1], 2.0)], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("coefficient", [math.nan, math.inf])
def test_a_coefficient_is_finite(tmp_path, coefficient):
    with pytest.raises(InputError, match="finite coefficient"):
        edit("b", [("f", coefficient)], tmp_path / "out")


# Tied weights

TIED = {"tie_word_embeddings": True}
EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def test_a_copy_of_a_tied_embedding_is_let_be(tmp_path):
    base, other = weights(), tuned(weights(), 1)
    with_copy = other | {HEAD: other[EMBED].clone()}
    paths = save(tmp_path / "b", base, config=TIED), save(tmp_path / "f", with_copy)
    edit(paths[0], [(paths[1], 1.0)], tmp_path / "out")
    assert load(tmp_path / "out").keys() == base.keys()


def test_a_base_with_a_copy_keeps_it_a_copy(tmp_path):
    base, other = weights(), tuned(weights(), 1)
    paths = save(tmp_path / "b", base | {HEAD: base[EMBED].clone()}, config=TIED), save(tmp_path / "f", other)
    edit(paths[0], [(paths[1], 0.5)], tmp_path / "out")
    found = load(tmp_path / "out")
    assert torch.equal(found[HEAD], found[EMBED]) and not torch.equal(found[EMBED], base[EMBED])


@pytest.mark.parametrize("config", [TIED, {"tie_word_embeddings": False}, None])
def test_an_output_layer_of_its_own_is_no_copy(tmp_path, config):
    base, other = weights(), tuned(weights(), 1)
    head = other[EMBED] + (1 if config is TIED else 0)
    paths = save(tmp_path / "b", base, config=config), save(tmp_path / "f", other | {HEAD: head})
    with pytest.raises(DataError, match=r"with lm_head\.weight besides"):
        edit(paths[0], [(paths[1], 1.0)], tmp_path / "out")


# The verb


def test_the_calls_of_the_help(desk):
    desk.run("edit", "--base", "base", "--add", "ft1:1.0", "--add", "ft2:0.6", "-o", "merged/")
    base = weights()
    expected = plain_sum(base, (tuned(base, 1), 1.0), (tuned(base, 2), 0.6))
    for name, w in load("merged").items():
        assert torch.equal(w, expected[name].float())
    desk.run("edit", "--base", "base", "--subtract", "ft1:0.8", "-o", "forgot/")
    expected = plain_sum(base, (tuned(base, 1), -0.8))
    for name, w in load("forgot").items():
        assert torch.equal(w, expected[name].float())
    for i, recipe in enumerate([["--rank", 1], ["--keep-rows", 0.2], ["--add", "ft2", "--ties", 0.2]]):
        desk.run("edit", "--base", "base", "--add", "ft1", *recipe, "-o", f"out{i}")


def test_a_path_may_hold_a_colon(desk):
    for name in ("a:b", "c:1.5x"):
        save(name, tuned(weights(), 1))
        record = desk.run("edit", "--base", "base", "--add", name, "-o", f"out-{name[0]}", "--json").json
        assert (record["vectors"][0]["path"], record["vectors"][0]["coefficient"]) == (name, 1)
        record = desk.run("edit", "--base", "base", "--add", f"{name}:-.5e0", "-o", f"two-{name[0]}", "--json").json
        assert (record["vectors"][0]["path"], record["vectors"][0]["coefficient"]) == (name, -0.5)


def test_what_is_told(desk):
    call = desk.run("edit", "--base", "base", "--add", "ft1", "--rank", 1, "--subtract", "ft2:0.5", "-o", "out")
    assert call.err == ""
    assert re.search(
        r"^\+1 +ft1 \(full weights\), which changes 4 tensors by a norm of 1\.\d+; kept 0\.", call.out, re.M
    )
    assert re.search(r"^-0.5 +ft2 \(full weights\)", call.out, re.M)
    assert "out: 4 tensors in F32, 1 file of weights" in call.out
    assert "editing.multi-task, editing.unlearning, editing.low-rank" in call.out
    assert "config.json" in call.out and "tokenizer.json" in call.out


def test_the_model_card(desk):
    desk.run(
        "edit", "--base", "base", "--add", "ft1:0.7", "--subtract", f"{desk.folder}/ft2", "--ties", 0.5, "-o", "out"
    )
    card = (desk.folder / "out" / "README.md").read_text()
    front = card.split("---\n")[1].splitlines()
    assert front == [
        "library_name: transformers",
        'base_model: "base"',
        "tags:",
        "- merge",
        "- task-vectors",
        "- lemmata-edit",
    ]
    assert "| `ft1` | full weights | +0.7 |\n| `ft2` | full weights | -1 |" in card
    assert "0.5 of the entries" in card and "(TIES)" in card
    for part in (
        "2504.10957",
        "2306.01708",
        "`editing.multi-task`",
        "`editing.unlearning`",
        "lambda >= 1 - alpha + beta",
    ):
        assert part in card
    assert str(desk.folder) not in card and "2311.03099" not in card and "low-rank" not in card


def test_files_beside_the_weights_are_copied(desk):
    (desk.folder / "base" / "sub").mkdir()
    (desk.folder / "base" / "sub" / "more.json").write_text("{}")
    (desk.folder / "base" / ".git").mkdir()
    (desk.folder / "base" / ".git" / "HEAD").write_text("x")
    for name in ("pytorch_model.bin", "model.onnx", "README.md"):
        (desk.folder / "base" / name).write_text("of somebody else")
    with open(desk.folder / "base" / "large.txt", "wb") as file:
        file.truncate(64_000_001)
    (desk.folder / "base" / "link.txt").symlink_to(desk.folder / "base" / "LICENSE")
    record = desk.run("edit", "--base", "base", "--add", "ft1", "-o", "out", "--json").json
    assert record["copied"] == ["LICENSE", "config.json", "link.txt", "sub/more.json", "tokenizer.json"]
    assert record["left_out"] == ["large.txt", "model.onnx", "pytorch_model.bin"]
    out = desk.folder / "out"
    found = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert found == sorted([*record["copied"], "README.md", "model.safetensors"])
    assert (out / "LICENSE").read_text() == "mine" and not (out / "link.txt").is_symlink()
    assert "somebody else" not in (out / "README.md").read_text()


def test_a_single_file_has_no_configuration(desk):
    save_file(weights(), "alone.safetensors", {"format": "pt", "more": "text"})
    record = desk.run("edit", "--base", "alone.safetensors", "--add", "ft1", "-o", "out", "--json").json
    assert record["copied"] == []
    with safe_open("out/model.safetensors", "pt") as opened:
        assert opened.metadata() == {"format": "pt", "more": "text"}
    assert "library_name" not in (desk.folder / "out" / "README.md").read_text()


def test_shards_and_their_index(desk):
    record = desk.run("edit", "--base", "base", "--add", "ft1", "-o", "out", "--shard-size", 5.3e-7, "--json").json
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    assert record["files"] == names
    index = json.loads((desk.folder / "out" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == record["bytes"] == sum(w.nbytes for w in weights().values())
    for name, shard in index["weight_map"].items():
        with safe_open(f"out/{shard}", "pt") as opened:
            assert opened.get_slice(name) and opened.metadata() == {"format": "pt"}
    assert index["weight_map"].keys() == weights().keys()
    # And it can be read again.
    desk.run("edit", "--base", "out", "--subtract", "ft1", "-o", "again")
    expected = plain_sum(load("out"), (load("ft1"), -1.0))
    assert all(torch.equal(w, expected[name].float()) for name, w in load("again").items())


def test_the_result_loads_in_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=20, hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2
    )
    models = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        models.append(transformers.LlamaForCausalLM(config))
        models[-1].save_pretrained(tmp_path / f"m{seed}")
    edit(tmp_path / "m0", [(tmp_path / "m1", 0.5)], tmp_path / "out", shard_size=2000)
    found = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "out")
    for ours, one, other in zip(found.parameters(), *(m.parameters() for m in models), strict=True):
        torch.testing.assert_close(ours, (one + other) / 2, rtol=0, atol=1e-7)


# Streaming

MEASURE = """
import resource, sys
from lemmata.tools.edit import edit
from lemmata.tools.recipes import Recipe
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
edit("base.safetensors", [("base.safetensors", 0.5)], "out", shard_size=400_000_000)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_memory_does_not_grow_with_the_checkpoint(tmp_path):
    """One that is several times larger than the bound, made of holes."""
    tensors = {f"w{i}": (4096, 8192) for i in range(14)}
    header, begin = {}, 0
    for name, shape in tensors.items():
        end = begin + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [begin, end]}
        begin = end
    assert begin > 3 * 300e6
    text = json.dumps(header).encode()
    with open(tmp_path / "base.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + begin)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", MEASURE]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").glob("*.safetensors"))) == 3
    assert float(done.stdout) < 300, done.stdout
    for file in tmp_path.rglob("*.safetensors"):
        file.unlink()

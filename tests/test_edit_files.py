"""Files of `lemmata edit`: what is refused, and that an output folder is there whole or not at all."""

import json
import os
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import time

import pytest
import torch
from checkpoints import load, save, tuned, weights
from safetensors.torch import save_file

from lemmata.lab.errors import DataError, InputError, OutputError
from lemmata.tools.checkpoint import SIZES, open_checkpoint, read_header
from lemmata.tools.edit import edit


@pytest.fixture
def desk(shell):
    """A folder with a base and a fine-tuning of it."""
    save("base", weights(), config={"model_type": "llama"})
    save("ft1", tuned(weights(), 1))
    return shell


CALL = ["edit", "--base", "base", "--add", "ft1", "-o", "out"]


# Reading


def converted(said):
    """Do what a message tells to do."""
    code = shlex.split(said.split("python -c ")[1])[0]
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("name", ["w.bin", "w.pt", "w.pth", 'it\'s "mine".ckpt', "dir [1]/pytorch_model.bin"])
def test_a_pickle_file_is_refused_with_the_way_to_convert_it(desk, name):
    path = desk.folder / name
    path.parent.mkdir(exist_ok=True)
    torch.save(weights(), path)
    given = path.parent if "/" in name else path
    for call in (["--base", given, "--add", "ft1"], ["--base", "base", "--add", given]):
        said = desk.refuse("edit", *call, "-o", "out")
        assert f"the pickle file {path}" in said
    # What is told does convert it.
    converted(said)
    desk.run("edit", "--base", path.with_suffix(".safetensors"), "--add", "ft1", "-o", "out")


def test_all_pickle_files_of_a_folder_are_converted_at_once(desk):
    """But not the optimizer that lies beside them."""
    base = weights()
    (desk.folder / "run").mkdir()
    torch.save({"step": 1}, desk.folder / "run" / "optimizer.pt")
    for i, (name, w) in enumerate(base.items()):
        torch.save({name: w}, desk.folder / "run" / f"pytorch_model-0000{i}-of-00004.bin")
    converted(desk.refuse("edit", "--base", "run", "--add", "ft1", "-o", "out"))
    record = desk.run("edit", "--base", "run", "--add", "ft1", "-o", "out", "--json").json
    assert (record["tensors"], record["copied"]) == (4, [])
    assert "optimizer.pt" in record["left_out"]


@pytest.mark.parametrize(
    "names, said",
    [
        (["no"], "which does not exist"),
        (["ft1:abc"], "ft:0.6"),
        (["empty"], "no .safetensors file"),
        (["text.txt"], ".safetensors"),
        (["/dev/null"], "which is neither"),
        ([":0.5"], "PATH:COEFFICIENT"),
        ([], "--add"),
    ],
    ids=str,
)
def test_what_is_no_checkpoint_is_refused(desk, names, said):
    (desk.folder / "empty").mkdir()
    (desk.folder / "text.txt").write_text("text")
    options = [part for name in names for part in ("--add", name)]
    if names == [":0.5"]:  # a coefficient of nothing
        said = "does not exist"
    assert said in desk.refuse("edit", "--base", "base", *options, "-o", "out")


@pytest.mark.parametrize(
    "call, said",
    [
        (["--add", "ft1"], "-o FOLDER"),
        (["--subtract", "ft1:-1", "-o", "out"], "--add"),
        (["--add", "ft1", "--rank", "0", "-o", "out"], "--rank"),
        (["--add", "ft1", "--keep-rows", "2", "-o", "out"], "--keep-rows"),
        (["--add", "ft1", "--ties", "0.2", "--dare", "0.5", "-o", "out"], "--ties and --dare"),
        (["--add", "ft1", "--seed", "1", "-o", "out"], "--seed"),
        (["--add", "ft1", "--dare", "most", "-o", "out"], "a number for --dare"),
        (["--add", "ft1", "--shard-size", "0", "-o", "out"], "--shard-size"),
        (["--add", "ft1", "-o", "no/out"], "make no"),
        (["--add", "ft1", "-o", "out.safetensors"], "name a folder"),
        (["--add", "ft1", "-o", "base"], "an input"),
        (["--add", "ft1", "-o", "ft1", "--force"], "an input"),
        (["--add", "ft1", "-o", "base/out"], "apart from the inputs"),
        (["--add", "ft1", "-o", ".", "--force"], "apart from the inputs"),
        (["--add", "ft1/model.safetensors", "-o", "ft1", "--force"], "apart from the inputs"),
    ],
    ids=" ".join,
)
def test_a_wrong_call_is_refused(desk, call, said):
    assert said in desk.refuse("edit", "--base", "base", *call)


def test_the_base_is_needed(desk):
    assert "--base" in desk.refuse("edit", "--add", "ft1", "-o", "out")


def test_other_names_are_refused_with_the_list_of_them(desk):
    other = tuned(weights(), 1)
    other["model.norm.scale"] = other.pop("model.norm.weight")
    save("ft2", other | {f"extra.{i:02}": torch.zeros(1) for i in range(12)})
    said = desk.refuse("edit", "--base", "base", "--add", "ft2", "-o", "out")
    assert "without model.norm.weight and with extra.00, extra.01" in said
    assert "extra.09 and 3 more besides" in said


def test_other_shapes_are_refused_with_the_list_of_them(desk):
    other = tuned(weights(), 1)
    other["model.embed_tokens.weight"] = torch.zeros(13, 6)
    save("ft2", other)
    said = desk.refuse("edit", "--base", "base", "--add", "ft2", "-o", "out")
    assert "model.embed_tokens.weight [13, 6] in place of [12, 6]" in said


def test_quantised_weights_are_refused(desk):
    save("ft2", {name: w.to(torch.int8) for name, w in weights().items()})
    assert "ft2, quantised" in desk.refuse("edit", "--base", "base", "--add", "ft2", "-o", "out")
    save("ft3", {name: w.to(torch.float8_e4m3fn) for name, w in weights().items()})
    assert "in F8_E4M3" in desk.refuse("edit", "--base", "base", "--add", "ft3", "-o", "out")


def damaged(header, data=b"", length=None):
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return struct.pack("<Q", len(text) if length is None else length) + text + data


ONE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
DAMAGED = {
    "empty": b"",
    "no JSON": damaged(b"nothing"),
    "a list": damaged([1]),
    "longer than the file": damaged({"w": ONE}, bytes(4)),
    "shorter than the file": damaged({"w": ONE}, bytes(12)),
    "no shape": damaged({"w": {"dtype": "F32", "data_offsets": [0, 8]}}, bytes(8)),
    "a gap": damaged({"w": ONE, "v": ONE | {"data_offsets": [12, 20]}}, bytes(20)),
    "an overlap": damaged({"w": ONE, "v": ONE | {"data_offsets": [4, 12]}}, bytes(12)),
    "another size": damaged({"w": ONE | {"shape": [3]}}, bytes(8)),
    "a negative size": damaged({"w": ONE | {"shape": [-1, -2]}}, bytes(8)),
    "an endless header": damaged(b"{}", length=1 << 60),
    "endless lists": damaged(b"[" * 100_000),
    "half a character": damaged(b'{"\\ud800": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}', bytes(8)),
    "words as offsets": damaged({"w": ONE | {"data_offsets": ["a", "b"]}}, bytes(8)),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_is_refused(tmp_path, kind):
    (tmp_path / "w.safetensors").write_bytes(DAMAGED[kind])
    with pytest.raises(DataError, match=r"w\.safetensors"):
        open_checkpoint(tmp_path / "w.safetensors")


def test_the_header_is_read_as_the_library_reads_it(tmp_path):
    tensors = {"a": torch.ones(2, 3), "b": torch.tensor(7), "c": torch.zeros(0, 5, dtype=torch.bfloat16)}
    save_file(tensors, tmp_path / "w.safetensors", {"format": "pt"})
    found, metadata = read_header(tmp_path / "w.safetensors")
    assert {name: (t.dtype, t.shape) for name, t in found.items()} == {
        "a": ("F32", (2, 3)),
        "b": ("I64", ()),
        "c": ("BF16", (0, 5)),
    }
    assert metadata == {"format": "pt"}
    assert found["a"].read(1, 4).tolist() == [1, 1, 1]


def test_shards_that_are_not_all_there(desk):
    desk.run(*CALL, "--shard-size", 3e-7)
    out = desk.folder / "out"
    index = json.loads((out / "model.safetensors.index.json").read_text())
    name, shard = next(iter(index["weight_map"].items()))
    (out / shard).rename(out / "away")
    assert f"no {shard}" in desk.refuse("edit", "--base", "out", "--add", "ft1", "-o", "more")
    (out / "away").rename(out / shard)
    index["weight_map"]["another"] = shard
    (out / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "none of another" in desk.refuse("edit", "--base", "out", "--add", "ft1", "-o", "more")
    index["weight_map"] = {name: "../base/model.safetensors"}
    (out / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "no ../base" in desk.refuse("edit", "--base", "out", "--add", "ft1", "-o", "more")


def test_files_without_an_index_are_read_together(desk):
    base = weights()
    (desk.folder / "parts").mkdir()
    for i, (name, w) in enumerate(base.items()):
        save_file({name: w}, f"parts/part{i}.safetensors")
    edit("parts", [("ft1", 1.0)], "out")
    assert load("out").keys() == base.keys()
    save_file({name: w}, "parts/once-more.safetensors")
    assert f"{name} in" in desk.refuse("edit", "--base", "parts", "--add", "ft1", "-o", "more")


def test_a_model_in_the_hub_s_cache_has_its_own_name(tmp_path):
    folder = save(tmp_path / "models--org--a-model" / "snapshots" / "0123abc", weights())
    assert open_checkpoint(folder).label == "org/a-model"


# Writing


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_every_tensor_is_aligned(tmp_path):
    """As readers that map the file want it, whatever the lengths of names and of other tensors."""
    for i, name in enumerate(("w", "ww", "www", "wwww")):
        path = tmp_path / f"base{i}"
        path.mkdir()
        # Of several files the tensors come in another order than the library would write them in.
        save_file({"a": torch.ones(3, dtype=torch.uint8)}, path / "1.safetensors")
        save_file({name: torch.ones(5), "z": torch.ones(3, dtype=torch.float64)}, path / "2.safetensors")
        edit(path, [(path, 1.0)], tmp_path / f"out{i}")
        tensors, _ = read_header(tmp_path / f"out{i}" / "model.safetensors")
        assert [tensor.offset % SIZES[tensor.dtype] for tensor in tensors.values()] == [0, 0, 0]


def test_an_existing_folder_is_kept_without_force(desk):
    desk.run(*CALL)
    assert "--force" in desk.refuse(*CALL)
    desk.run("edit", "--base", "base", "--subtract", "ft1", "-o", "out", "--force")
    assert "| -1 |" in (desk.folder / "out" / "README.md").read_text()
    assert left(desk.folder) == ["base", "ft1", "out"]


def test_force_replaces_no_folder_but_its_own(desk):
    for name, content in (("mine", "precious"), ("file", None)):
        if content:
            (desk.folder / name).mkdir()
            (desk.folder / name / "README.md").write_text(content)
        else:
            (desk.folder / name).write_text("a file")
        said = desk.refuse("edit", "--base", "base", "--add", "ft1", "-o", name, "--force")
        assert "a folder that lemmata edit wrote" in said
    (desk.folder / "empty").mkdir()
    desk.run("edit", "--base", "base", "--add", "ft1", "-o", "empty", "--force")


def break_at(monkeypatch, error):
    """Let the second shard fail."""
    from lemmata.tools import writer

    write, calls = writer.Shard.write, []

    def broken(self, *args):
        calls.append(self.name)
        if len(calls) == 2:
            raise error
        write(self, *args)

    monkeypatch.setattr(writer.Shard, "write", broken)


def test_force_wants_the_card_itself(desk):
    """A word in a text of the user's own is not enough."""
    (desk.folder / "mine").mkdir()
    for card in (
        "I made it with lemmata-edit.",
        "# Notes\n---\ntags:\n- lemmata-edit\n---\n",
        "---\n- lemmata-edited\n---\n",
    ):
        (desk.folder / "mine" / "README.md").write_text(card)
        assert "which is none" in desk.refuse("edit", "--base", "base", "--add", "ft1", "-o", "mine", "--force")


@pytest.mark.parametrize("forced", [False, True])
def test_a_folder_that_somebody_makes_meanwhile(desk, monkeypatch, forced):
    """Without --force it is theirs."""
    from lemmata.tools import edit as tool

    check = tool.check_space

    def race(*args):
        check(*args)
        (desk.folder / "out").mkdir()
        (desk.folder / "out" / "theirs").write_text("x")

    monkeypatch.setattr(tool, "check_space", race)
    call = desk(*CALL, *(["--force"] if forced else []))
    assert call.status == (0 if forced else 2)
    assert ("theirs" in left(desk.folder / "out")) == (not forced)
    assert left(desk.folder) == ["base", "ft1", "out"]


@pytest.mark.parametrize("before", [False, True])
def test_an_error_leaves_what_was_there(desk, monkeypatch, before):
    if before:
        desk.run(*CALL)
    break_at(monkeypatch, OSError(28, "No space left on device"))
    said = desk.refuse(*CALL, "--shard-size", 3e-7, *(["--force"] if before else []))
    assert "No space left on device" in said
    assert left(desk.folder) == ["base", "ft1", *(["out"] if before else [])]


def test_ctrl_c_leaves_what_was_there(desk, monkeypatch):
    break_at(monkeypatch, KeyboardInterrupt())
    call = desk(*CALL, "--shard-size", 3e-7)
    assert (call.status, call.out, call.err) == (130, "", "stopped: out was not written\n")
    assert left(desk.folder) == ["base", "ft1"]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_real_ctrl_c(tmp_path, sent):
    """The signal arrives while a large tensor is being written; a scheduler sends the other one."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [100_000_000], "data_offsets": [0, 400_000_000]}}).encode()
    with open(tmp_path / "big.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + 400_000_000)
    command = [sys.executable, "-c", "import sys; from lemmata.cli import main; sys.exit(main())", "edit"]
    command += ["--base", "big.safetensors", "--add", "big.safetensors", "-o", "out"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        if any(path.suffix == ".tmp" and list(path.iterdir()) for path in tmp_path.iterdir()):
            break
        time.sleep(0.05)
    process.send_signal(sent)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said.splitlines()[-1]) == (130, "stopped: out was not written")
    assert left(tmp_path) == ["big.safetensors"]
    (tmp_path / "big.safetensors").unlink()


def test_a_renaming_that_fails_brings_the_old_folder_back(desk, monkeypatch):
    desk.run(*CALL)
    before = desk.files()
    rename = type(desk.folder).rename

    def broken(self, target):
        if self.suffix == ".tmp":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(type(desk.folder), "rename", broken)
    assert "Input/output error" in desk.refuse("edit", "--base", "base", "--subtract", "ft1", "-o", "out", "--force")
    assert desk.files() == before


def test_a_disk_that_is_full_meanwhile(desk):
    """A limit on the size of files, which is an error of the system itself."""
    save("big", {"w": torch.zeros(300, 1000)})
    script = "import sys; from lemmata.cli import main; sys.exit(main())"
    verb = f"{shlex.quote(sys.executable)} -c {shlex.quote(script)} edit --base big --add big -o out"
    call = f"ulimit -f 100; trap '' XFSZ; exec {verb}"
    done = subprocess.run(["bash", "-c", call], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "out: File too large" in done.stderr
    assert left(desk.folder) == ["base", "big", "ft1"]


def test_a_name_of_full_length(desk):
    desk.run("edit", "--base", "base", "--add", "ft1", "-o", "o" * 255)
    assert left(desk.folder) == ["base", "ft1", "o" * 255]


def test_a_full_disk_is_seen_ahead(desk, monkeypatch):
    usage = shutil.disk_usage(desk.folder)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=16_000_000))
    assert "GB of free space" in desk.refuse(*CALL)


def test_nothing_is_written_before_the_input_was_checked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((InputError, DataError, OutputError)):
        edit("no", [("ft1", 1.0)], "out")
    assert os.listdir() == []


def test_an_input_that_shrinks_meanwhile(desk, monkeypatch):
    """Its header was right; then somebody cuts the file."""
    from lemmata.tools import edit as tool

    check = tool.check_space

    def cut(*args):
        check(*args)
        file = desk.folder / "ft1" / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-100])

    monkeypatch.setattr(tool, "check_space", cut)
    call = desk(*CALL)
    assert call.status == 2 and "a file that ends before it" in call.err
    assert left(desk.folder) == ["base", "ft1"]


def test_progress_counts_megabytes(tmp_path):
    """On anything longer than two seconds the verb shows it."""
    base = {"w": torch.zeros(1000, 3000)}
    paths = save(tmp_path / "b", base), save(tmp_path / "f", base)
    told = []

    def tell(done, total, seconds_left, note=""):
        told.append((done, total, seconds_left))

    edit(paths[0], [(paths[1], 1.0)], tmp_path / "out", progress=tell)
    assert [(done, total) for done, total, _ in told] == [(4, 12), (8, 12), (12, 12)]
    assert told[-1][2] == 0

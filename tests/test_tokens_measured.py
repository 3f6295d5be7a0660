"""What `lemmata tokens` measures: the images, the probe, speed, relevance, and the call from end to end."""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from vision import Fused, picture, save_model, save_pictures, tiny

from lemmata.lab.errors import DataError, InputError
from lemmata.tools.checkpoint import open_checkpoint
from lemmata.tools.layers import bind
from lemmata.tools.pictures import Sight, batches, read_pictures, sight_of, split
from lemmata.tools.pretrained import vision_model
from lemmata.tools.probe import drop, fitted, observe
from lemmata.tools.relevance import needed_share, relevance, relevant
from lemmata.tools.speed import median, speed
from lemmata.tools.tokens import sparsified

PLAIN = Sight(size=(16, 16), crop=None, mean=(0.5,) * 3, std=(0.5,) * 3)
CALL = ["tokens", "vit", "--images", "pictures"]


@pytest.fixture
def vit(shell):
    """The command line beside a tiny model and 40 images."""
    save_model(shell.folder / "vit")
    save_pictures(shell.folder / "pictures")
    return shell


def folder_with(path, config) -> Any:
    """What a function asks of a checkpoint whose weights it does not read."""
    return SimpleNamespace(folder=path, path=path, config=config)


def write_parquet(path, *, names=False, **columns):
    """Six images as datasets writes them."""
    encoded = [{"bytes": (Path("pictures") / f"{i}.png").read_bytes(), "path": None} for i in range(6)]
    table = pa.table({"img": encoded, "label": [3, 7, 3, 7, 3, 7]} | columns)
    if names:
        features = {"info": {"features": {"label": {"names": [f"class {i}" for i in range(8)]}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(table, path)


# Images


def test_a_folder_and_a_parquet_file_hold_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("pictures").mkdir()
    for i in range(6):
        picture(i % 2, i).save(f"pictures/{i}.png")
    for name in ("plain", "named"):
        write_parquet(f"{name}.parquet", names=name == "named")
    plain, named = read_pictures("plain.parquet"), read_pictures("named.parquet")
    assert plain.classes == ("3", "7") and named.classes == ("class 3", "class 7")
    for c in ("a", "b"):
        Path("folder", c).mkdir(parents=True)
    for i in range(6):
        picture(i % 2, i).save(f"folder/{'ab'[i % 2]}/{i}.png")
    Path("folder/a/notes.txt").write_text("no image")
    folder = read_pictures("folder")
    assert folder.names == ["a/0.png", "a/2.png", "a/4.png", "b/1.png", "b/3.png", "b/5.png"]
    order = [0, 2, 4, 1, 3, 5]
    assert folder.label_N.tolist() == plain.label_N[order].tolist() == [0, 0, 0, 1, 1, 1]
    for i, j in enumerate(order):
        assert folder.image(i).tobytes() == plain.image(j).tobytes() == picture(j % 2, j).tobytes()


def test_halves_have_every_class_and_do_not_overlap():
    pictures: Any = SimpleNamespace(label_N=np.repeat([0, 1, 2], [10, 20, 30]), path="x")
    fit, held = split(pictures, 30, seed=0)
    assert not set(fit) & set(held) and len(fit) == len(held) == 15
    for half in (fit, held):
        assert np.bincount(pictures.label_N[half]).tolist() == [5, 5, 5]
    assert split(pictures, 30, seed=0) == (fit, held) != split(pictures, 30, seed=1)
    assert [len(half) for half in split(pictures, 1000, seed=0)] == [30, 30]


def test_an_image_is_resized_cropped_and_normalised():
    image = Image.fromarray(np.full((10, 20, 3), [0, 51, 255], np.uint8))
    sight = Sight(size=8, crop=(6, 4), mean=(0.5, 0.0, 0.0), std=(0.5, 1.0, 2.0))
    assert sight.framed(image).size == (4, 6)
    assert Sight(size=8, crop=None, mean=(0,), std=(1,)).framed(image).size == (16, 8)
    pixels = sight.pixels(image)
    assert pixels.shape == (3, 6, 4)
    assert torch.allclose(pixels, torch.tensor([-1.0, 0.2, 0.5])[:, None, None].expand(3, 6, 4))


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ({"size": 24}, {"size": (24, 24), "crop": None}),
        ({"size": {"height": 8, "width": 12}}, {"size": (8, 12)}),
        ({"size": {"shortest_edge": 20}, "crop_size": 16, "do_center_crop": True}, {"size": 20, "crop": (16, 16)}),
        (
            {"size": 20, "crop_size": {"height": 16, "width": 16}, "do_center_crop": True},
            {"size": 20, "crop": (16, 16)},
        ),
        (
            {"do_resize": False, "do_normalize": False, "do_rescale": False},
            {"size": None, "scale": 1, "std": (1, 1, 1)},
        ),
        ({"image_mean": [0.1, 0.2, 0.3], "resample": 2}, {"size": (16, 16), "mean": (0.1, 0.2, 0.3), "resample": 2}),
        ({}, {"size": (16, 16), "mean": (0.5, 0.5, 0.5), "scale": 1 / 255}),
    ],
    ids=str,
)
def test_what_a_model_wants_to_see_is_read(tmp_path, about, expected):
    start = folder_with(tmp_path, {"image_size": 16})
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(about))
    sight = sight_of(start)
    assert {name: getattr(sight, name) for name in expected} == expected
    with pytest.raises(DataError, match="size, mean and std"):
        (tmp_path / "preprocessor_config.json").write_text('{"size": {"width": 3}}')
        sight_of(start)
    (tmp_path / "preprocessor_config.json").unlink()
    timm = {"pretrained_cfg": {"input_size": [3, 8, 9], "mean": [0, 0, 0], "std": [1, 1, 1]}}
    start = folder_with(tmp_path, timm)
    assert (sight_of(start).size, sight_of(start).std) == ((8, 9), (1, 1, 1))


# The probe


def test_features_are_those_of_cls_or_the_mean_that_sizes_weigh():
    pixels = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    model = tiny()
    seen = observe(bind(model, pixels), [pixels[:3], pixels[3:]], layers=[1, 2])
    with torch.no_grad():
        assert np.allclose(seen.feature_ND, model(pixels).last_hidden_state[:, 0].numpy(), atol=1e-6)
        attentions: Any = tiny(kernel="eager")(pixels, output_attentions=True).attentions
    for number in (1, 2):
        expected = attentions[number - 1][:, :, 0, 1:].mean(1).numpy()
        assert np.allclose(seen.attention[number], expected, atol=1e-6)
    model = Fused(prefix=0)
    bound = bind(model, pixels)
    kept: list[torch.Tensor] = []
    model.norm.register_forward_hook(lambda *args: kept.append(args[2]))
    with sparsified(bound, keep=0.5, policy="merge") as sparse:
        found = observe(bound, [pixels], sparse=sparse).feature_ND
    assert sparse.size is not None
    expected = (kept[0] * sparse.size[..., None]).sum(1) / 16
    assert np.allclose(found, expected.numpy(), atol=1e-6)
    assert np.allclose(observe(bound, [pixels]).feature_ND, kept[1].mean(1).numpy(), atol=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_outputs_of_the_probe_are_centred_and_name_the_class(classes):
    rng = np.random.default_rng(0)
    label = np.arange(60) % classes
    feature = rng.normal(size=(60, 5)) + 3 * np.eye(5)[label]
    probe = fitted(feature, label)
    outputs = probe.outputs(feature)
    assert outputs.shape == (60, classes) and np.allclose(outputs.sum(1), 0)
    assert ((outputs.argmax(1) == label) == probe.hits(feature, label)).all() and probe.hits(
        feature, label
    ).mean() > 0.9


def test_a_drop_is_over_the_same_images():
    before, after = np.array([True] * 8 + [False] * 2), np.array([True] * 5 + [False] * 4 + [True])
    e = drop(before, after)
    lost, won = 4 / 12, 2 / 12
    reach = 1.959964 * np.sqrt((lost + won - (lost - won) ** 2) / 12)
    assert e.value == pytest.approx(0.2) and (e.lo, e.hi) == pytest.approx((lost - won - reach, lost - won + reach))
    assert drop(after, before).value == pytest.approx(-0.2)


@pytest.mark.parametrize("n", [20, 50, 200])
@pytest.mark.parametrize("changes", [1, 2, 4, 8])
def test_the_interval_of_a_drop_covers_where_few_images_change(n, changes):
    """Images are lost only, as often as would make the usual interval too short: that covers 85 % then."""
    lost_R = np.random.default_rng([n, changes]).binomial(n, changes / n, 4000)
    found = {k: drop(np.ones(n, bool), np.arange(n) >= k) for k in set(lost_R.tolist())}
    assert np.mean([found[k].lo <= changes / n <= found[k].hi for k in lost_R.tolist()]) > 0.92


# Speed


def test_both_are_timed_by_turns(monkeypatch):
    pixels, model = torch.zeros(2, 3, 16, 16), tiny()
    bound = bind(model, pixels)
    ran, clock = [], iter(range(1000))
    model.register_forward_hook(lambda *args: ran.append(args[2].last_hidden_state.shape[1]))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(clock)))
    told = []
    found = speed(bound, pixels, keep=0.5, policy="random", layer=1, rounds=6, told=told.append)
    assert ran == [17, 9, *[9, 17, 17, 9] * 3] and told == [2] * 14
    assert (found.before, found.after, found.ratio.value, found.batch) == (2.0, 2.0, 1.0, 2)


def test_the_interval_of_a_median_covers(capsys):
    rng = np.random.default_rng(0)
    found = [median(np.exp(rng.normal(size=11))) for _ in range(2000)]
    assert np.mean([e.lo <= 1 <= e.hi for e in found]) == pytest.approx(0.988, abs=0.01)
    assert median(np.array([1.0, 2.0])).objections == ("2 rounds are too few for an interval",)


# Relevance


@pytest.mark.parametrize("model", [tiny(), Fused(prefix=0)], ids=["cls", "no prefix"])
def test_relevance_is_what_removing_a_token_changes(model):
    pixels = torch.randn(40, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    bound = bind(model, pixels)
    feature = observe(bound, [pixels]).feature_ND
    probe = fitted(feature, np.arange(40) % 3)
    found = relevance(bound, probe, pixels[:1], 2)
    for patch in range(16):
        place = [t for t in range(bound.prefix + 16) if t != bound.prefix + patch]

        def leave(module, args, output, place=place):
            return output[:, place]

        hook = bound.layers[1].module.register_forward_hook(leave)
        without = observe(bound, [pixels[:1]]).feature_ND
        hook.remove()
        change = probe.outputs(without) - probe.outputs(feature[:1])
        assert found[patch] == pytest.approx(np.linalg.norm(change), rel=1e-3, abs=1e-6)
    assert relevant(found).sum() < 9 and found[relevant(found)].min() >= found[~relevant(found)].max()


def test_the_needed_share_is_read_off_the_curve():
    attention = np.array([[0.5, 0.3, 0.1, 0.1], [0.1, 0.3, 0.1, 0.5]])
    assert [needed_share(attention, mass)[0] for mass in (0.5, 0.51, 0.8, 0.95, 1.0)] == [0.25, 0.5, 0.5, 1.0, 1.0]


# From end to end


def test_a_call_for_reading_and_as_json(vit):
    before = vit.files()
    out = vit.run(*CALL, "--keep", 0.5).out
    for said in (
        "model      vit: 4 layers, 16 patch tokens, 1 prefix token that always stay",
        "images     pictures: 20 to fit the probe, 20 held out, 2 classes",
        "gone       8 of 16 patch tokens after layer 1, those with the least attention",
        "11 rounds of 16 images by turns",
    ):
        assert said in out
    record = vit.run(*CALL, "--keep", 0.5, "--policy", "merge", "--layer", 2, "--json").json
    assert (record["keep"], record["kept"], record["layer"], record["policy"]) == (0.5, 8, 2, "merge")
    assert record["advice"] is None and len(record["condition"]["layers"]) == 4
    accuracy = record["accuracy"]
    assert accuracy["drop"]["value"] == pytest.approx(accuracy["before"] - accuracy["after"])
    assert vit.files() == before, "nothing is written"


def test_all_tokens_change_nothing(vit):
    record = vit.run(*CALL, "--keep", 1, "--json").json
    assert record["accuracy"]["before"] == record["accuracy"]["after"] and record["accuracy"]["drop"]["value"] == 0
    assert "gone       none of 16 patch tokens" in vit.run(*CALL, "--keep", 1).out


def test_advice_comes_from_the_curve_of_attention(vit):
    record = vit.run(*CALL, "--advise", "--json").json
    advice = record["advice"]
    masses = [point["mass"] for point in advice["curve"]]
    assert masses == sorted(masses) and masses[-1] == pytest.approx(1)
    assert record["keep"] == advice["keep"] and advice["images"] == 20 and advice["mass"] == 0.95
    # Between the last point below and the first above.
    below = max((point["share"] for point in advice["curve"] if point["mass"] < 0.95), default=0)
    above = min(point["share"] for point in advice["curve"] if point["mass"] >= 0.95)
    assert below < advice["keep"] <= above + 0.01
    out = vit.run(*CALL, "--advise").out
    assert f"advice     keep {advice['keep']:g}: the smallest share" in out and "a drop of" in out


def test_masks_say_what_is_relevant(vit):
    marked = {}
    for name in ("blue", "red"):
        for i in range(20):
            mask = np.zeros((16, 16))
            mask[4:12, 4:12] = 1
            marked[f"{name}/{i}.png"] = mask
    np.savez("masks.npz", **marked)
    condition = vit.run(*CALL, "--mask", "masks.npz", "--json").json["condition"]
    assert (condition["relevance"], condition["images"], condition["share"]) == ("mask", 20, 0.25)
    assert "25% of the patch tokens (as the masks say; 20 images)" in vit.run(*CALL, "--mask", "masks.npz").out
    for array, said in (
        (np.ones((16, 16)), "masks of held-out images that mark some patches and not all"),
        (np.ones((8, 16)), "a mask as large as its image"),
        (np.ones(16), "masks with a height and a width"),
    ):
        np.savez("odd.npz", allow_pickle=False, **dict.fromkeys(marked, array))
        assert said in vit.refuse(*CALL, "--mask", "odd.npz")
    np.savez("others.npz", other=np.ones((16, 16)))
    assert "call masks as the images are called" in vit.refuse(*CALL, "--mask", "others.npz")
    np.savez("objects.npz", a=np.array([[{}]], object))
    Path("text.npz").write_text("no masks")
    for name in ("objects.npz", "text.npz"):
        assert "an .npz file of masks" in vit.refuse(*CALL, "--mask", name)
    assert "does not exist" in vit.refuse(*CALL, "--mask", "none.npz")


@pytest.mark.parametrize("name", ["Dinov2ForImageClassification", "SiglipVisionModel"])
def test_other_models(vit, name):
    save_model(vit.folder / "other", tiny(name))
    record = vit.run("tokens", "other", "--images", "pictures", "--policy", "noise", "--json").json
    assert record["model"]["prefix"] == (0 if name.startswith("Siglip") else 1)


# What is refused

BAD = {
    "no model": (["tokens", "none", "--images", "pictures"], "which does not exist"),
    "no images": (["tokens", "vit"], "--images"),
    "no such images": (["tokens", "vit", "--images", "none"], "images, in a folder or a .parquet file"),
    "a file that is none": (["tokens", "vit", "--images", "vit/config.json"], "a .parquet file"),
    "nothing to keep": ([*CALL, "--keep", "0"], "a share above 0 and at most 1"),
    "too much to keep": ([*CALL, "--keep", "1.5"], "a share above 0 and at most 1"),
    "keep in words": ([*CALL, "--keep", "most"], "a number for --keep"),
    "no such policy": ([*CALL, "--policy", "best"], "attention, merge, random, noise"),
    "the last layer": ([*CALL, "--layer", "4"], "a layer from the first to the last but one"),
    "two questions": ([*CALL, "--keep", "0.5", "--advise"], "one of --keep and --advise"),
    "too few images": ([*CALL, "--limit", "2"], "a whole number of at least 4 for --limit"),
    "weights alone": (["tokens", "vit/model.safetensors", "--images", "pictures"], "a folder with config.json"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_call_is_refused(vit, name):
    args, said = BAD[name]
    assert said in vit.refuse(*args)


def test_images_without_classes_are_refused(vit):
    for i in range(4):
        Path("flat").mkdir(exist_ok=True)
        picture(0, i).save(f"flat/{i}.png")
    assert "flat with 0.png, 1.png, 2.png" in vit.refuse("tokens", "vit", "--images", "flat")
    Path("one").mkdir()
    Path("flat").rename("one/class")
    assert "images of two classes at least" in vit.refuse("tokens", "vit", "--images", "one")
    Path("empty").mkdir()
    assert "empty with nothing" in vit.refuse("tokens", "vit", "--images", "empty")
    Path("one/other").mkdir()
    picture(1, 0).save("one/other/0.png")
    Path("one/other/0.png").write_text("no image")
    assert "an image that can be read" in vit.refuse("tokens", "vit", "--images", "one")
    Path("few/a").mkdir(parents=True)
    Path("few/b").mkdir()
    for name in "ab":
        picture(0, 0).save(f"few/{name}/0.png")
    assert "two images at least of two classes" in vit.refuse("tokens", "vit", "--images", "few")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"label": [0.5] * 6}, "one column of images, and a column label"),
        ({"thumb": [b""] * 6}, "one column of images, and a column label"),
        ({"label": [1, 2, None, 1, 2, 1]}, "a label of every image"),
        ({"img": [b"no image"] * 6}, "an image that can be read"),
    ],
    ids=str,
)
def test_a_parquet_file_of_something_else_is_refused(vit, columns, said):
    for i in range(6):
        picture(i % 2, i).save(f"pictures/{i}.png")
    write_parquet("images.parquet", **columns)
    assert said in vit.refuse("tokens", "vit", "--images", "images.parquet")


def test_a_damaged_parquet_file_is_refused(vit):
    Path("images.parquet").write_text("no table")
    assert "a parquet file that can be read" in vit.refuse("tokens", "vit", "--images", "images.parquet")


def test_pickled_weights_are_refused_with_the_way_to_convert_them(vit):
    torch.save({"w": torch.ones(1)}, "vit/pytorch_model.bin")
    Path("vit/model.safetensors").unlink()
    said = vit.refuse(*CALL)
    assert "may run code" in said and "convert it, if you trust it" in said


def test_other_models_are_refused(vit):
    config = json.loads(Path("vit/config.json").read_text())
    for change, said in (
        ({"architectures": ["NoSuchModel"]}, "a model of transformers"),
        ({"architectures": ["ViTForImageClassification"]}, "all weights of ViTForImageClassification"),
        ({"num_hidden_layers": 5}, "all weights of ViTModel"),
        ({"hidden_size": 32}, "weights that fit the model in config.json"),
        ({"model_type": "no such type"}, "a configuration that transformers can read"),
        ({"image_size": 32}, "weights that fit the model in config.json"),
    ):
        Path("vit/config.json").write_text(json.dumps(config | change))
        assert said in vit.refuse(*CALL)


def test_a_model_of_text_is_refused(vit):
    import transformers

    config = transformers.BertConfig(
        vocab_size=10, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8
    )
    save_model("text", transformers.BertModel(config))
    Path("text/preprocessor_config.json").write_text('{"size": 16}')
    assert "a model that takes images" in vit.refuse("tokens", "text", "--images", "pictures")


def test_without_transformers_the_way_to_get_it_is_told(vit, monkeypatch):
    monkeypatch.setattr("lemmata.tools.pretrained.missing", lambda needs: ["needs the package transformers: pip ..."])
    assert "transformers, to run a Hugging Face model" in vit.refuse(*CALL)


# timm

TIMM = {"architecture": "vit_tiny_patch16_224", "num_classes": 0, "pretrained_cfg": {"input_size": [3, 224, 224]}}


def test_timm_that_does_not_import_is_told(vit, monkeypatch):
    Path("vit/config.json").write_text(json.dumps(TIMM))
    monkeypatch.setitem(sys.modules, "timm", None)
    said = vit.refuse(*CALL)
    assert "timm, to run vit_tiny_patch16_224" in said and "the build of torchvision that belongs to your torch" in said


def test_a_folder_of_timm_makes_its_model(vit, monkeypatch):
    """With what stands for timm where that cannot be imported."""
    fused = Fused()
    made = []

    def create_model(*args, **about):
        made.append((args, about))
        return Fused()

    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=create_model))
    Path("vit/config.json").write_text(json.dumps(TIMM | {"model_args": {"img_size": 16}}))
    start = open_checkpoint("vit")
    model = vision_model(start, fused.state_dict().items())
    assert made == [(("vit_tiny_patch16_224",), {"pretrained": False, "num_classes": 0, "img_size": 16})]
    pixels = torch.randn(2, 3, 16, 16)
    assert torch.equal(model(pixels), fused(pixels))
    with pytest.raises(DataError, match="all weights of vit_tiny_patch16_224"):
        vision_model(start, [])


def test_timm_itself(tmp_path):
    try:
        import timm  # pyright: ignore[reportMissingImports]
    except Exception as error:
        pytest.skip(f"needs timm and a torchvision that imports: {error}")
    from safetensors.torch import save_file

    model = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=0)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(TIMM))
    start = open_checkpoint(tmp_path)
    from lemmata.tools.answering import weights_of

    bound = bind(vision_model(start, weights_of(start, [], [])), torch.zeros(1, 3, 224, 224))
    assert (len(bound.layers), bound.prefix, bound.patches, bound.layers[0].heads) == (12, 1, 196, 3)


# With local data


@pytest.fixture
def local() -> Path:
    root = os.environ.get("LEMMATA_DATA")
    if not root or not all((Path(root) / name).is_dir() for name in ("dinov2_small", "cifar10")):
        pytest.skip("needs LEMMATA_DATA with dinov2_small and cifar10 below it")
    return Path(root)


def test_dinov2_on_cifar10(local):
    start = open_checkpoint(local / "dinov2_small")
    from lemmata.tools.answering import weights_of

    model = vision_model(start, weights_of(start, [], []))
    pictures = read_pictures(local / "cifar10" / "train-00000-of-00001.parquet")
    assert len(pictures.label_N) == 50_000 and pictures.classes[0] == "airplane"
    # Smaller than its own 224, for the time it takes.
    sight = Sight(size=112, crop=(112, 112), mean=sight_of(start).mean, std=sight_of(start).std)
    fit, held = split(pictures, 300, seed=0)
    bound = bind(model, torch.zeros(1, 3, 112, 112))
    assert (len(bound.layers), bound.prefix, bound.patches) == (12, 1, 64)
    whole, seen = (observe(bound, batches(pictures, sight, which)).feature_ND for which in (fit, held))
    probe, label_N = fitted(whole, pictures.label_N[fit]), pictures.label_N[held]
    before = probe.hits(seen, label_N)
    assert before.mean() > 0.4  # chance is 0.1
    with sparsified(bound, keep=1.0):
        assert np.array_equal(observe(bound, batches(pictures, sight, held[:16])).feature_ND, seen[:16])
    # What a policy costs is for a run to say, not for a test: here it is that 45 of 64 patches still make the features.
    for policy in ("attention", "merge", "random", "noise"):
        with sparsified(bound, keep=0.7, policy=policy) as sparse:
            after = observe(bound, batches(pictures, sight, held[:16]), sparse=sparse).feature_ND
        assert sparse.size is not None and sparse.size.shape[1] == 45
        assert np.isfinite(after).all() and not np.array_equal(after, seen[:16])
    with pytest.raises(InputError, match="a model that takes images"):
        bind(model, torch.zeros(1, 3, 8, 8))


# What an ordinary folder may hold


def test_images_of_several_sizes_need_a_crop(vit):
    (vit.folder / "vit/preprocessor_config.json").write_text('{"size": {"shortest_edge": 16}}')
    picture(0, 99).resize((40, 20)).save(vit.folder / "pictures/blue/wide.png")
    said = vit.refuse(*CALL, "--keep", 0.5)
    assert "images of one size as the model sees them" in said and "blue/wide.png" in said and "crop_size" in said


@pytest.mark.parametrize(
    "about",
    [
        {"image_std": [0, 0, 0]},
        {"image_mean": [0.5] * 4},
        {"size": {"height": 0, "width": 0}},
        {"size": {"longest_edge": 16}},
        {"rescale_factor": float("nan")},
    ],
    ids=str,
)
def test_a_preprocessor_that_no_image_fits_is_refused(vit, about):
    (vit.folder / "vit/preprocessor_config.json").write_text(json.dumps(about))
    assert "the size, mean and std of a model's images" in vit.refuse(*CALL, "--keep", 0.5)


@pytest.mark.parametrize("named", ["pipeline", ["models"], ["AutoModel"], ["ViTConfig"], 5, [], None], ids=str)
def test_an_architecture_that_is_no_model_is_refused(vit, named):
    path = vit.folder / "vit/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"architectures": named}))
    assert "a model of transformers" in vit.refuse(*CALL, "--keep", 0.5)


def test_a_model_without_its_pooler_is_read(vit):
    save_model(vit.folder / "bare", tiny(add_pooling_layer=False))
    record = vit.run("tokens", "bare", "--images", "pictures", "--keep", 0.5, "--json").json
    assert record["model"]["patches"] == 16


def test_images_that_are_none_say_why(vit):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
        assert "an image that can be read" in vit.refuse(*CALL, "--keep", 0.5)
    encoded = [{"bytes": None, "path": "x.png"}] * 4
    pq.write_table(pa.table({"img": encoded, "label": [0, 1, 0, 1]}), vit.folder / "paths.parquet")
    assert "without bytes" in vit.refuse("tokens", "vit", "--images", "paths.parquet")
    pq.write_table(
        pa.table({"img": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}), vit.folder / "n.PARQUET"
    )
    assert "has no rows" in vit.refuse("tokens", "vit", "--images", "n.PARQUET")
    (vit.folder / "pictures/blue/0.png").write_text("no image")
    (vit.folder / "pictures/red/0.png").write_text("no image")
    said = vit.refuse(*CALL, "--keep", 0.5)
    assert "an image that can be read" in said and "0x" not in said
    assert "at most 9223372036854775807" in vit.refuse(*CALL, "--seed", 10**20)


@pytest.mark.parametrize("size", [(32, 32), (333, 500), (480, 641), (101, 77)])
def test_an_image_is_framed_as_transformers_does_it(size):
    from transformers import BitImageProcessorPil

    values = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    about = {"size": {"shortest_edge": 64}, "crop_size": {"height": 56, "width": 56}, "do_center_crop": True}
    about |= {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4], "resample": 3, "do_resize": True}
    processor: Any = BitImageProcessorPil(**about)
    expected = processor(Image.fromarray(values), return_tensors="pt")["pixel_values"][0]
    found = Sight(size=64, crop=(56, 56), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4)).pixels(Image.fromarray(values))
    assert torch.allclose(found, expected, atol=1e-5)

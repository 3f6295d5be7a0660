"""LoRA adapters as task vectors: against peft's own merging, and what is refused."""

import json
import math
import re
import warnings

import pytest
import torch
from checkpoints import load, save
from safetensors.torch import load_file, save_file

from lemmata.lab.errors import DataError, InputError
from lemmata.tools.adapter import Product
from lemmata.tools.checkpoint import read_header
from lemmata.tools.edit import edit

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

LLAMA = transformers.LlamaConfig(
    vocab_size=20,
    hidden_size=8,
    intermediate_size=12,
    num_hidden_layers=2,
    num_attention_heads=2,
    tie_word_embeddings=False,
)
GPT2 = transformers.GPT2Config(vocab_size=20, n_positions=16, n_embd=8, n_layer=2, n_head=2)


def model(config=LLAMA, seed=0):
    torch.manual_seed(seed)
    return transformers.AutoModelForCausalLM.from_config(config)


def adapter(folder, config=LLAMA, *, scale=0.3, **how):
    """An adapter of random factors, beside the base it was made for; and what peft merges the two to."""
    base = model(config)
    base.save_pretrained(folder / "base")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what peft and transformers say to each other
        return _adapter(folder, base, scale, how)


def _adapter(folder, base, scale, how):
    wrapped = peft.get_peft_model(base, peft.LoraConfig(**how))
    generator = torch.Generator().manual_seed(5)
    for name, p in wrapped.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            p.data += scale * torch.randn(p.shape, generator=generator)
    wrapped.save_pretrained(folder / "ad")
    return wrapped.merge_and_unload().state_dict()


PLAIN = {"r": 3, "lora_alpha": 5, "target_modules": ["q_proj", "down_proj"]}
KINDS = {
    "plain": (LLAMA, PLAIN),
    "every layer": (LLAMA, PLAIN | {"target_modules": "all-linear"}),
    "rslora": (LLAMA, PLAIN | {"use_rslora": True}),
    "ranks by pattern": (LLAMA, PLAIN | {"rank_pattern": {"layers.1.self_attn.q_proj": 2, "down_proj": 4}}),
    "alphas by pattern": (LLAMA, PLAIN | {"alpha_pattern": {r".*\.1\.mlp\.down_proj": 11, "q_proj": 2}}),
    "modules to save": (LLAMA, PLAIN | {"modules_to_save": ["lm_head"]}),
    "an embedding": (LLAMA, PLAIN | {"target_modules": ["embed_tokens", "v_proj"]}),
    "stored the other way round": (GPT2, PLAIN | {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}),
}


UNTIED = transformers.GPT2Config(
    vocab_size=20,
    n_positions=16,
    n_embd=8,
    n_layer=1,
    n_head=2,
    bos_token_id=1,
    eos_token_id=2,
    tie_word_embeddings=False,
)
# peft notes how the last module is stored, here the output layer; c_proj is square.
KINDS["stored in both ways"] = UNTIED, PLAIN | {"target_modules": ["attn.c_proj", "lm_head"]}
KINDS["stored in both ways, to see"] = UNTIED, PLAIN | {"target_modules": ["c_attn", "c_proj", "lm_head"]}


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_adds_what_peft_merges(tmp_path, kind):
    config, how = KINDS[kind]
    merged = adapter(tmp_path, config, **how)
    edited = edit(tmp_path / "base", [(tmp_path / "ad", 1.0)], tmp_path / "out")
    base, found = load(tmp_path / "base"), load(tmp_path / "out")
    assert found.keys() == base.keys()
    for name, w in found.items():
        expected = merged.get(name, merged.get(f"transformer.{name}"))
        torch.testing.assert_close(w, expected, rtol=1e-6, atol=1e-6)
    changed = sum(not torch.equal(w, base[name]) for name, w in found.items())
    assert 0 < changed < len(base) and edited.vectors[0].changed == changed
    assert edited.vectors[0].kind == "adapter"


def by_hand(folder, base, *, settings=None, **tensors):
    """An adapter written without peft."""
    save(folder / "base", base)
    (folder / "ad").mkdir()
    plain = {"peft_type": "LORA", "r": 1, "lora_alpha": 2, "bias": "none", "init_lora_weights": True}
    (folder / "ad" / "adapter_config.json").write_text(json.dumps(plain | (settings or {})))
    named = {f"base_model.model.{name.replace('__', '.')}": t for name, t in tensors.items()}
    save_file(named, folder / "ad" / "adapter_model.safetensors")
    return folder / "base", [(folder / "ad", 1.0)], folder / "out"


A, B = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0], [10.0]])


@pytest.mark.parametrize("name", ["layer.weight", "model.layer.weight"])
@pytest.mark.parametrize("module", ["layer", "model__layer"])
def test_by_hand_with_a_prefix_or_without(tmp_path, name, module):
    base = {name: torch.ones(2, 3), "norm.weight" if "model" not in name else "model.norm.weight": torch.ones(2)}
    edit(*by_hand(tmp_path, base, **{f"{module}__lora_A__weight": A, f"{module}__lora_B__weight": B}))
    assert load(tmp_path / "out")[name].tolist() == [[3, 5, 7], [21, 41, 61]]


@pytest.mark.parametrize("transposed", [False, True])
def test_a_slice_may_begin_within_a_row(tmp_path, transposed):
    """As it does where a row is longer than a slice."""
    A, B = torch.randn(2, 5), torch.randn(4, 2)
    save_file({"A": A, "B": B}, tmp_path / "w.safetensors")
    found, _ = read_header(tmp_path / "w.safetensors")
    product = Product(found["A"], found["B"], 0.5, transposed)
    whole = 0.5 * (B.double() @ A.double())
    expected = (whole.T if transposed else whole).ravel().tolist()
    assert product.shape == ((5, 4) if transposed else (4, 5))
    for start in range(20):
        for stop in range(start + 1, 21):
            assert product.read(start, stop).tolist() == pytest.approx(expected[start:stop])


def test_a_coefficient_and_a_recipe_act_on_the_product(tmp_path):
    from lemmata.tools.recipes import Recipe

    base = {"layer.weight": torch.zeros(2, 3)}
    path, ((ad, _),), out = by_hand(tmp_path, base, layer__lora_A__weight=A, layer__lora_B__weight=B)
    edit(path, [(ad, -0.5)], out, recipe=Recipe(keep_rows=0.5))
    assert load(out)["layer.weight"].tolist() == [[0, 0, 0], [-10, -20, -30]]


@pytest.mark.parametrize(
    "how, said",
    [
        ({"use_dora": True}, "use_dora True"),
        ({"bias": "lora_only"}, "bias none"),
        ({"peft_type": "IA3"}, "type LORA"),
        ({"init_lora_weights": "pissa"}, "path_initial_model_for_weight_conversion"),
        ({"a_setting_of_tomorrow": [1]}, "a_setting_of_tomorrow"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"rank_pattern": {"[": 1}}, "rank_pattern"),
        ({"alpha_pattern": [1]}, "alpha_pattern"),
        ({"r": 0}, "r and lora_alpha"),
        ({"lora_alpha": math.nan}, "r and lora_alpha"),
    ],
    ids=str,
)
def test_an_adapter_of_another_kind_is_refused(tmp_path, how, said):
    base = {"layer.weight": torch.zeros(2, 3)}
    call = by_hand(tmp_path, base, settings=how, layer__lora_A__weight=A, layer__lora_B__weight=B)
    with pytest.raises((InputError, DataError), match=re.escape(said)):
        edit(*call)
    assert not (tmp_path / "out").exists()


def test_a_square_weight_without_a_model_s_name_is_refused(tmp_path):
    """GPT-2 stores it as (in, out), others do not, and peft notes it for one module only."""
    factors = {"h__c_proj__lora_A__weight": torch.ones(1, 3), "h__c_proj__lora_B__weight": torch.ones(3, 1)}
    call = by_hand(tmp_path, {"h.c_proj.weight": torch.zeros(3, 3)}, **factors)
    with pytest.raises(InputError, match=r"config\.json"):
        edit(*call)
    (tmp_path / "base" / "config.json").write_text('{"model_type": "gpt_neo"}')
    edit(*call)
    assert load(tmp_path / "out")["h.c_proj.weight"].tolist() == [[2.0] * 3] * 3


def test_factors_that_do_not_fit_are_refused(tmp_path):
    factors = {"layer__lora_A__weight": A, "layer__lora_B__weight": B}
    cases = [
        ({"layer.weight": torch.zeros(2, 4)}, factors, {}, r"layer.weight \[2, 3\] in place of \[2, 4\]"),
        ({"other.weight": torch.zeros(2, 3)}, factors, {}, "no layer.weight"),
        ({"layer.weight": torch.zeros(2, 3)}, factors, {"r": 2}, "factors of rank 2"),
        ({"layer.weight": torch.zeros(2, 3)}, {"layer__lora_A__weight": A}, {}, "two factors of layer"),
        (
            {"layer.weight": torch.zeros(2, 3)},
            factors | {"layer__lora_magnitude_vector": A.clone()},
            {},
            "lora_magnitude",
        ),
    ]
    for i, (base, tensors, settings, said) in enumerate(cases):
        call = by_hand(tmp_path / str(i), base, settings=settings, **tensors)
        with pytest.raises((InputError, DataError), match=said):
            edit(*call)


def test_factors_are_finite(tmp_path):
    base = {"layer.weight": torch.zeros(2, 3)}
    call = by_hand(tmp_path, base, layer__lora_A__weight=A * math.nan, layer__lora_B__weight=B)
    with pytest.raises(DataError, match=r"lora_A.weight"):
        edit(*call)


def test_an_adapter_of_an_output_layer_that_is_tied(tmp_path):
    base = {"model.embed_tokens.weight": torch.zeros(2, 3)}
    call = by_hand(tmp_path, base, lm_head__lora_A__weight=A, lm_head__lora_B__weight=B)
    (tmp_path / "base" / "config.json").write_text('{"tie_word_embeddings": true}')
    with pytest.raises(DataError, match="lm_head is tied to the embedding"):
        edit(*call)


@pytest.mark.parametrize("module", ["model__embed_tokens", "lm_head"])
def test_both_copies_of_a_tied_weight_are_changed(tmp_path, module):
    """As where there is one, which both layers read."""
    one = torch.arange(6.0).reshape(2, 3)
    base = {"model.embed_tokens.weight": one, "lm_head.weight": one.clone(), "zero": torch.zeros(2, 3)}
    call = by_hand(tmp_path, base, **{f"{module}__lora_A__weight": A, f"{module}__lora_B__weight": B})
    (tmp_path / "base" / "config.json").write_text('{"tie_word_embeddings": true}')
    edit(*call)
    found = load(tmp_path / "out")
    assert torch.equal(found["lm_head.weight"], one + 2 * B @ A)
    assert torch.equal(found["model.embed_tokens.weight"], found["lm_head.weight"]) and not found["zero"].any()


def test_an_adapter_and_full_weights_together(tmp_path):
    one = torch.arange(6.0).reshape(2, 3)
    base, vectors, out = by_hand(tmp_path, {"layer.weight": one}, layer__lora_A__weight=A, layer__lora_B__weight=B)
    full = save(tmp_path / "ft", {"layer.weight": one * 3})
    edit(base, [(vectors[0][0], 0.5), (full, -1.0), (vectors[0][0], 0.25)], out)
    assert torch.equal(load(out)["layer.weight"], one + 1.5 * B @ A - 2 * one)


def test_an_adapter_s_file_alone_and_one_in_a_pickle(tmp_path):
    base = {"layer.weight": torch.zeros(2, 3)}
    path, ((ad, _),), out = by_hand(tmp_path, base, layer__lora_A__weight=A, layer__lora_B__weight=B)
    with pytest.raises(InputError, match="name the whole folder"):
        edit(path, [(ad / "adapter_model.safetensors", 1.0)], out)
    (ad / "adapter_model.safetensors").rename(ad / "adapter_model.bin")
    with pytest.raises(InputError, match="save_file"):
        edit(path, [(ad, 1.0)], out)
    (ad / "adapter_model.bin").unlink()
    with pytest.raises(InputError, match="save_pretrained"):
        edit(path, [(ad, 1.0)], out)


def test_an_adapter_is_no_base(shell):
    by_hand(shell.folder, {"layer.weight": torch.zeros(2, 3)}, layer__lora_A__weight=A, layer__lora_B__weight=B)
    assert "adapter" in shell.refuse("edit", "--base", "ad", "--add", "base", "-o", "out")


def test_an_embedding_trained_on_another_base_is_refused(tmp_path):
    adapter(tmp_path, LLAMA, r=3, lora_alpha=5, target_modules=["embed_tokens"])
    file = tmp_path / "ad" / "adapter_model.safetensors"
    tensors = load_file(file)
    (name,) = (name for name in tensors if "base_layer" in name)
    save_file(tensors | {name: tensors[name] + 1}, file)
    with pytest.raises(DataError, match="name the base it was trained on"):
        edit(tmp_path / "base", [(tmp_path / "ad", 1.0)], tmp_path / "out")

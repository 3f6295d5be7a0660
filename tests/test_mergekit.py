"""The sums of `lemmata edit` against mergekit 0.1.5, tensor by tensor, on a small model in the Llama form.

mergekit is an extra of its own: pip install -c constraints.txt "lemmata[mergekit]". Without it these tests are skipped;
small cases computed by hand stand in tests/test_edit.py and tests/test_edit_recipes.py.

Where mergekit 0.1.5 differs, and what is compared then:
- task_arithmetic is a weighted average unless `normalize: false`, which makes it the plain sum.
- ties with `normalize: true` divides by the sum of the weights that agree, so that a negative weight subtracts nothing
  and weights of 2 and 2 are those of 1 and 1. Lemmata divides by their number. With equal weights w the two are the
  same if mergekit's weights are 1 and its lambda is w; with others, its sum (`normalize: false`) over that number.
- dare_linear with `rescale: true` scales what is left to the L1 norm of the whole, not by 1 / (1 - p); what it keeps is
  compared without rescaling. Its mask is drawn by torch and differs from ours: shares are compared, and p = 0 exactly.
- It computes in the dtype of the checkpoints, here float32: the weights are whole multiples of 2^-12, so that sums and
  differences are exact and all magnitudes of a vector distinct.
"""

import math
from importlib import import_module

import numpy as np
import pytest
import torch
from checkpoints import load, save

from lemmata.tools.edit import edit
from lemmata.tools.recipes import Recipe

mergekit = pytest.importorskip(
    "mergekit", reason='mergekit is not installed: pip install -c constraints.txt "lemmata[mergekit]"'
)

HIDDEN, INNER, WORDS = 16, 24, 40
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": WORDS,
    "max_position_embeddings": 32,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "dtype": "float32",
}
LAYER = {
    "input_layernorm": (HIDDEN,),
    "post_attention_layernorm": (HIDDEN,),
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (HIDDEN, HIDDEN),
    "self_attn.v_proj": (HIDDEN, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INNER, HIDDEN),
    "mlp.up_proj": (INNER, HIDDEN),
    "mlp.down_proj": (HIDDEN, INNER),
}
SHAPES = {
    "model.embed_tokens.weight": (WORDS, HIDDEN),
    **{f"model.layers.{i}.{name}.weight": shape for i in range(2) for name, shape in LAYER.items()},
    "model.norm.weight": (HIDDEN,),
    "lm_head.weight": (WORDS, HIDDEN),
}
UNIT = 2.0**-12


def change(shape, seed):
    """Distinct magnitudes in random order, with random signs."""
    draw = np.random.default_rng(seed)
    size = math.prod(shape)
    signs = draw.choice([-1, 1], size)
    return torch.tensor((draw.permutation(size) + 1) * signs * UNIT, dtype=torch.float32).reshape(shape)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A base and two fine-tunings of it."""
    folder = tmp_path_factory.mktemp("models")
    base = {name: change(shape, 1000 + i) for i, (name, shape) in enumerate(SHAPES.items())}
    save(folder / "base", base, config=CONFIG)
    for k in (1, 2):
        moved = {name: w + change(w.shape, 100 * k + i) for i, (name, w) in enumerate(base.items())}
        save(folder / f"ft{k}", moved, config=CONFIG)
    return folder


def merged(models, out, method, weights, *, density=None, **parameters):
    """What mergekit makes of it."""
    of = {name: import_module(f"mergekit.{name}") for name in ("config", "merge", "options")}
    own = {} if density is None else {"density": density}
    config = {
        "merge_method": method,
        "base_model": str(models / "base"),
        "models": [
            {"model": str(models / f"ft{k}"), "parameters": {"weight": weight, **own}}
            for k, weight in enumerate(weights, start=1)
        ],
        "parameters": parameters,
        "dtype": "float32",
    }
    options = of["options"].MergeOptions(random_seed=3, write_model_card=False, copy_tokenizer=False)
    of["merge"].run_merge(of["config"].MergeConfiguration.model_validate(config), str(out), options)
    return load(out)


def ours(models, out, weights, **how):
    edit(
        models / "base",
        [(models / f"ft{k}", weight) for k, weight in enumerate(weights, start=1)],
        out,
        recipe=Recipe(**how),
    )
    return load(out)


def assert_equal(found, expected):
    assert found.keys() == expected.keys() == SHAPES.keys()
    for name, w in found.items():
        torch.testing.assert_close(w, expected[name], rtol=2**-22, atol=1e-7, msg=lambda text, name=name: name + text)


quiet = pytest.mark.filterwarnings("ignore")  # mergekit's own


@quiet
@pytest.mark.parametrize("weights", [(1.0, 0.6), (0.7, -0.5), (-0.8,)])
def test_the_plain_sum_is_task_arithmetic(models, tmp_path, weights):
    expected = merged(models, tmp_path / "theirs", "task_arithmetic", weights, normalize=False)
    assert_equal(ours(models, tmp_path / "ours", weights), expected)


@quiet
@pytest.mark.parametrize("density", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("weight", [1.0, 0.7])
def test_ties_with_equal_weights(models, tmp_path, density, weight):
    theirs = merged(
        models, tmp_path / "theirs", "ties", (1.0, 1.0), density=density, normalize=True, **{"lambda": weight}
    )
    assert_equal(ours(models, tmp_path / "ours", (weight, weight), ties=density), theirs)


@quiet
@pytest.mark.parametrize("weights", [(1.0, 0.5), (0.75, -0.5)])
def test_ties_with_other_weights_is_the_sum_over_those_that_agree(models, tmp_path, weights):
    theirs = merged(models, tmp_path / "theirs", "ties", weights, density=0.5, normalize=False)
    found, base = ours(models, tmp_path / "ours", weights, ties=0.5), load(models / "base")
    seen = torch.zeros(3)
    for name, w in found.items():
        mean, total = w - base[name], theirs[name] - base[name]
        agree = torch.where(total == 0, 0, torch.where(mean == total, 1, 2))
        torch.testing.assert_close(mean * agree, total, rtol=2**-20, atol=1e-6)
        seen += torch.bincount(agree.ravel(), minlength=3)
    assert seen.min() > 100  # none, one and both agree, each many times


@quiet
def test_dare_keeps_the_same_share_of_the_same_values(models, tmp_path):
    p = 0.6
    theirs = merged(models, tmp_path / "theirs", "dare_linear", (1.0,), density=1 - p, normalize=False, rescale=False)
    found, base, ft = ours(models, tmp_path / "ours", (1.0,), dare=p), load(models / "base"), load(models / "ft1")
    size = kept_by_us = kept_by_them = 0
    for name, w in base.items():
        delta = ft[name] - w
        ours_, theirs_ = found[name] - w, theirs[name] - w
        torch.testing.assert_close(ours_[ours_ != 0], (delta / (1 - p))[ours_ != 0], rtol=1e-5, atol=1e-6)
        assert torch.equal(theirs_[theirs_ != 0], delta[theirs_ != 0])
        size += w.numel()
        kept_by_us += int((ours_ != 0).sum())
        kept_by_them += int((theirs_ != 0).sum())
    margin = 4 * math.sqrt(size * p * (1 - p))
    assert abs(kept_by_us - size * (1 - p)) < margin
    assert abs(kept_by_them - size * (1 - p)) < margin


@quiet
def test_dare_that_drops_nothing(models, tmp_path):
    theirs = merged(models, tmp_path / "theirs", "dare_linear", (1.0, 0.6), density=1.0, normalize=False)
    assert_equal(ours(models, tmp_path / "ours", (1.0, 0.6), dare=0.0), theirs)

"""Taking tokens away from a vision transformer: its layers, the four policies by hand, and a model left as it was."""

import copy
import math
from typing import Any

import pytest
import torch
from vision import Fused, slow_round, tiny

from lemmata.lab.errors import InputError
from lemmata.tools.layers import bind
from lemmata.tools.merging import merge
from lemmata.tools.tokens import POLICIES, default_layer, kept, sparsified, sparsify

PIXELS = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
HUGGING_FACE = ["ViTModel", "ViTForImageClassification", "Dinov2Model", "Dinov2ForImageClassification"]


def last(model, pixels=PIXELS):
    """The logits of a classifier, or the last tokens."""
    with torch.no_grad():
        out = model(pixels)
    return out if isinstance(out, torch.Tensor) else out.logits if "logits" in out else out.last_hidden_state


def hooks(model):
    """How many hooks hang on all modules."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    return [len(getattr(module, kind)) for module in model.modules() for kind in kinds]


# Finding the layers


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize("name", HUGGING_FACE)
def test_layers_of_hugging_face_models_are_found(name, kernel):
    model = tiny(name, kernel=kernel)
    bound = bind(model, PIXELS)
    names = {module: path for path, module in model.named_modules()}
    assert (len(bound.layers), bound.prefix, bound.patches, bound.width) == (4, 1, 16, 16)
    for i, layer in enumerate(bound.layers):
        path = names[layer.module]
        assert path.endswith(f".{i}")
        assert (names[layer.query.module], names[layer.key.module]) == (
            f"{path}.attention.q_proj",
            f"{path}.attention.k_proj",
        )
        assert (layer.heads, layer.query.start, layer.query.stop) == (2, 0, 16)
        assert layer.scale == pytest.approx(8**-0.5, rel=1e-5)
    assert names[bound.final].rpartition(".")[2] == "layernorm"


@pytest.mark.parametrize(
    ("name", "about", "prefix"),
    [
        ("Dinov2WithRegistersModel", {"num_register_tokens": 3}, 4),
        ("DeiTModel", {}, 2),
        ("SiglipVisionModel", {}, 0),
        ("CLIPVisionModel", {}, 1),
    ],
)
def test_prefix_tokens_are_those_that_no_image_changes(name, about, prefix):
    bound = bind(tiny(name, **about), PIXELS)
    assert (bound.prefix, bound.patches) == (prefix, 16)


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_one_map_for_queries_keys_and_values(prefix, plain):
    bound = bind(Fused(prefix=prefix, plain=plain), PIXELS)
    layer = bound.layers[1]
    assert layer.query.module is layer.key.module
    assert (layer.query.start, layer.query.stop, layer.key.start, layer.key.stop) == (0, 12, 12, 24)
    assert (bound.prefix, layer.heads, layer.scale) == (prefix, 2, pytest.approx(6**-0.5, rel=1e-5))


def test_binding_leaves_modes_randomness_and_weights():
    model = Fused()
    model.blocks[1].eval()
    modes, state = [m.training for m in model.modules()], copy.deepcopy(model.state_dict())
    before = torch.get_rng_state()
    bind(model, PIXELS)
    assert torch.equal(before, torch.get_rng_state())
    assert [m.training for m in model.modules()] == modes and hooks(model) == [0] * len(hooks(model))
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


def test_a_mask_that_hides_nothing_is_none():
    for bias in (torch.zeros(17, 17), torch.ones(1, 1, 17, 17) > 0):
        assert len(bind(Fused(plain=False, bias=bias), PIXELS).layers) == 3


@pytest.mark.parametrize(
    ("model", "pixels", "said"),
    [
        (torch.nn.Linear(2, 2), PIXELS, "a model that takes images"),
        (torch.nn.Conv2d(3, 4, 4), PIXELS, "a list of layers, each with self-attention and an MLP"),
        (Fused(rotate=True), PIXELS, "logits that are products of two linear maps"),
        (Fused(plain=False, bias=torch.randn(2, 17, 17)), PIXELS, "logits that are products of two linear maps"),
        (Fused(plain=False, bias=torch.eye(17) < 1), PIXELS, "logits that are products of two linear maps"),
        (Fused(), PIXELS[0], "pixels (B, C, H, W)"),
        (Fused(), PIXELS[..., :8], "a model that takes images"),
    ],
    ids=["linear", "convolution", "normalised queries", "positions", "masks", "one image", "another size"],
)
def test_a_model_that_is_none_is_refused(model, pixels, said):
    with pytest.raises(InputError) as error:
        bind(model, pixels)
    assert error.value.expected == said
    assert hooks(model) == [0] * len(hooks(model))


def test_windowed_attention_is_refused():
    import transformers

    config = transformers.SwinConfig(
        image_size=16, patch_size=1, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4
    )
    with pytest.raises(InputError, match="every layer attends from all tokens to all"):
        bind(transformers.SwinModel(config), PIXELS)


# Policies


def by_hand(model, policy, at, places):
    """ViTModel step by step: what every patch is worth to a policy, and what comes out when these places stay."""
    with torch.no_grad():
        x, worth = model.embeddings(PIXELS), torch.zeros(0)
        for i, layer in enumerate(model.layers):
            normed = layer.layernorm_before(x)
            x = layer(x)
            if i + 1 != at:
                continue
            if policy == "attention":
                q, k = layer.attention.q_proj(normed), layer.attention.k_proj(normed)
                heads = [torch.softmax(q[:, :1, h] @ k[..., h].mT / 8**0.5, -1) for h in (slice(0, 8), slice(8, 16))]
                worth = ((heads[0] + heads[1]) / 2)[:, 0, 1:]
            elif policy == "random":
                worth = torch.rand(len(x), 16, generator=torch.Generator().manual_seed(3))
            else:
                cosine = torch.nn.functional.cosine_similarity(x[:, 1:, None], x[:, None, 1:], dim=-1)
                worth = torch.stack([(c - 3 * torch.eye(16)).max(1).values for c in cosine])
            x = torch.stack([torch.cat([t[:1], t[1:][p]]) for t, p in zip(x, places, strict=True)])
        return worth, model.layernorm(x)


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize("policy", ["attention", "random", "noise"])
def test_a_policy_is_what_it_is_by_hand(policy, at, kernel):
    model = tiny(kernel=kernel)
    with sparsify(model, keep=0.4, policy=policy, layer=at, seed=3) as sparse:
        found = last(model)
    assert sparse.places is not None and sparse.size is not None
    assert found.shape == (5, 1 + 7, 16) and torch.equal(sparse.size, torch.ones(5, 7))
    assert sparse.places.shape == (5, 7) and (sparse.places.diff() > 0).all()
    worth, expected = by_hand(model, policy, at, sparse.places)
    # Two tokens may be each other's nearest neighbour, so that it is their worth that is compared.
    assert torch.allclose(worth.gather(1, sparse.places).sort().values, worth.sort().values[:, -7:], atol=1e-6)
    assert torch.allclose(found, expected, atol=1e-5)


def test_without_cls_attention_is_what_a_token_receives():
    model: Any = Fused(prefix=0)
    with sparsify(model, keep=0.5, layer=1, pixels=PIXELS) as sparse:
        last(model)
    with torch.no_grad():
        x = model.patch_embed(PIXELS).flatten(2).transpose(1, 2) + model.pos_embed
        block = model.blocks[0]
        q, k, _ = block.qkv(block.norm1(x)).reshape(5, 16, 3, 2, 6).permute(2, 0, 3, 1, 4)
        received = (q @ k.mT / 6**0.5).softmax(-1).sum((1, 2))
    assert sparse.places is not None
    assert torch.equal(sparse.places, received.topk(8).indices.sort().values)


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_merged_tokens_are_attended_to_as_all_that_they_stand_for(kernel):
    """Patches that are the same can be merged without a trace."""
    model = tiny(kernel=kernel)
    torch.nn.init.zeros_(model.embeddings.position_embeddings)
    # Eight patches of either kind. One round finds for each of A a twin in B, the first one for all of its kind.
    halves = torch.cat([torch.ones(1, 3, 16, 8), -torch.ones(1, 3, 16, 8)], 3)
    whole = last(model, halves)
    with sparsify(model, keep=0.5, policy="merge", layer=1) as sparse:
        fewer = last(model, halves)
    assert sparse.size is not None
    assert sparse.size.tolist() == [[5.0, 5.0, 1, 1, 1, 1, 1, 1]] and sparse.places is None
    assert torch.allclose(fewer[:, 0], whole[:, 0], atol=1e-5)


def test_a_mask_of_the_users_own_stays_beside_the_sizes():
    q = torch.randn(1, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    from lemmata.tools.softmax import Biased

    size, hidden = torch.tensor([[1.0, 2.0, 1.0]]), torch.tensor([[[[True, True, False]]]])
    expected = (q @ q.mT / 2 + size.log() + torch.zeros(hidden.shape).masked_fill(~hidden, -math.inf)).softmax(-1) @ q
    attend = torch.nn.functional.scaled_dot_product_attention
    numbers = torch.zeros(hidden.shape).masked_fill(~hidden, -math.inf)
    with Biased(lambda: size.log()):
        for found in (attend(q, q, q, hidden), attend(q, q, q, attn_mask=numbers), attend(q, q, q, attn_mask=hidden)):
            assert torch.allclose(found, expected, atol=1e-6)


def test_how_many_stay():
    assert [kept(keep, 16) for keep in (1, 0.7, 0.5, 1 / 16, 0.01)] == [16, 12, 8, 1, 1]
    assert [kept(0.1 * i, 10) for i in range(1, 11)] == list(range(1, 11))
    assert [default_layer(bind(Fused(layers=n), PIXELS)) for n in (2, 3, 7)] == [1, 1, 2]


def test_random_draws_are_those_of_the_seed():
    model, places = tiny(), []
    for seed in (0, 0, 1):
        with sparsify(model, keep=0.5, policy="random", seed=seed) as sparse:
            last(model)
        places.append(sparse.places)
    assert torch.equal(places[0], places[1]) and not torch.equal(places[0], places[2])
    assert not torch.equal(places[0][0], places[0][1])


# Merging, by hand


def test_several_tokens_may_go_into_one():
    # A holds the tokens 0, 2, 4, B the tokens 1, 3; 0, 2 and 4 all are nearest to 1.
    key = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [1.0, 0.2]]])
    x = torch.tensor([[[1.0], [3.0], [5.0], [100.0], [7.0]]])
    merged, size = merge(x, key, 3)
    # Two go: 0 and 2, whose cosines are 1 and 0.995; 4 has 0.981.
    assert merged.flatten().tolist() == [3.0, 100.0, 7.0] and size.tolist() == [[3.0, 1.0, 1.0]]


def test_a_second_round_weighs_by_size():
    # First 0 goes into 1 and 2 into 3, then what is left of the first pair into that of the second.
    key = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [1.0, 1.0], [1.0, 1.0], [0.0, 1.0], [0.0, -1.0]]])
    x = torch.tensor([[[0.0], [2.0], [4.0], [6.0], [50.0], [60.0]]])
    merged, size = merge(x, key, 4)
    assert merged.flatten().tolist() == [1.0, 5.0, 50.0, 60.0] and size.tolist() == [[2.0, 2.0, 1.0, 1.0]]
    merged, size = merge(x, key, 1)
    assert merged.item() == pytest.approx(122 / 6) and size.item() == 6.0


@pytest.mark.parametrize("keep", [1, 4, 9, 14, 17])
def test_merging_is_that_of_a_slow_twin(keep):
    draws = torch.Generator().manual_seed(keep)
    x, key = (torch.randn(3, 17, d, generator=draws, dtype=torch.float64) for d in (5, 4))
    merged, size = merge(x, key, keep)
    for i in range(3):
        one, of_one, sizes = x[i], key[i], torch.ones(17, dtype=torch.float64)
        while len(one) > keep:
            one, of_one, sizes = slow_round(one, of_one, sizes, min(len(one) - keep, len(one) // 2))
        assert torch.allclose(merged[i], one) and torch.equal(size[i], sizes)
    assert torch.allclose((merged * size[..., None]).sum(1), x.sum(1)), "nothing is lost"


# As it was


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", [*HUGGING_FACE, "SiglipVisionModel"])
def test_all_tokens_give_equal_outputs_and_the_model_is_left_as_it_was(name, policy):
    model = tiny(name)
    before, state = last(model), copy.deepcopy(model.state_dict())
    with sparsify(model, keep=1.0, policy=policy) as sparse:
        assert torch.equal(last(model), before) and sparse.size is None
    with sparsify(model, keep=0.5, policy=policy):
        assert not torch.equal(last(model)[:, 0], before[:, 0])
    assert torch.equal(last(model), before)
    assert hooks(model) == [0] * len(hooks(model))
    assert all(torch.equal(state[n], value) for n, value in model.state_dict().items())


@pytest.mark.parametrize("policy", POLICIES)
def test_an_exception_inside_leaves_it_too(policy):
    model = tiny()
    before = last(model)
    with pytest.raises(ZeroDivisionError), sparsify(model, keep=0.5, policy=policy):
        last(model)
        raise ZeroDivisionError
    with pytest.raises(RuntimeError, match="stopped"), sparsify(model, keep=0.5, policy=policy):
        stopping = model.layers[-1].mlp.register_forward_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("stopped")))
        try:
            last(model)
        finally:
            stopping.remove()
    assert hooks(model) == [0] * len(hooks(model))
    assert torch.equal(last(model), before)


def test_gradients_go_through():
    model = tiny()
    with sparsify(model, keep=0.5, policy="merge"):
        model(PIXELS).last_hidden_state.sum().backward()
    assert all(p.grad is not None for p in model.layers.parameters())


@pytest.mark.parametrize("keep", [1.0, 0.5])
def test_nested_use_is_refused_and_the_outer_one_goes_on(keep):
    model = tiny("ViTForImageClassification")
    with sparsify(model, keep=keep):
        before = last(model)
        with pytest.raises(InputError, match="leave the first context"), sparsify(model.vit, keep=0.5):
            pass
        assert torch.equal(last(model), before)
    with sparsify(model, keep=keep), sparsify(tiny(seed=1), keep=0.5):
        pass


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"keep": 0.0}, "a share above 0 and at most 1"),
        ({"keep": 1.1}, "a share above 0 and at most 1"),
        ({"keep": math.nan}, "a share above 0 and at most 1"),
        ({"keep": 0.5, "policy": "best"}, "a policy, one of attention, merge, random, noise"),
        ({"keep": 0.5, "layer": 0}, "a layer from the first to the last but one"),
        ({"keep": 0.5, "layer": 4}, "a layer from the first to the last but one"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(asked, said):
    with pytest.raises(InputError, match=said), sparsify(tiny(), **asked):
        pass
    with sparsified(bind(tiny(), PIXELS), keep=0.5):
        pass


def test_the_size_of_images_is_in_the_configuration_or_given():
    with sparsify(tiny(image_size=[16, 16]), keep=0.5):
        pass
    model: Any = Fused()
    with pytest.raises(InputError, match="pass pixels=images"), sparsify(model, keep=0.5):
        pass
    model.pretrained_cfg = {"input_size": (3, 16, 16)}
    with sparsify(model, keep=0.5):
        pass


def test_a_model_that_masks_at_random_is_refused():
    before = torch.get_rng_state()
    with pytest.raises(InputError, match="the same tokens of the same image each time"):
        bind(tiny("ViTMAEModel"), PIXELS)
    assert torch.equal(before, torch.get_rng_state())


def test_another_thread_is_refused():
    import threading

    model, said = tiny(), []

    def run():
        try:
            last(model)
        except InputError as error:
            said.append(error.expected)

    with sparsify(model, keep=0.5, policy="merge"):
        other = threading.Thread(target=run)
        other.start()
        other.join()
        assert last(model).shape[1] == 9
    assert said == ["the thread that entered sparsify"]


def test_threads_that_enter_at_once_wait_for_each_other():
    from concurrent.futures import ThreadPoolExecutor

    def run(_):
        model = tiny()
        with sparsify(model, keep=0.5, policy="attention"):
            return last(model).shape[1]

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(run, range(4))) == [9] * 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_merges_as_single_precision_does(dtype):
    draws = torch.Generator().manual_seed(0)
    x, key = (torch.randn(2, 1370, 4, generator=draws).to(dtype) for _ in range(2))
    merged, size = merge(400 * x, key, 1)
    assert torch.equal(size, torch.full((2, 1), 1370.0))
    expected, _ = merge(400 * x.double(), key.double(), 1)
    assert merged.dtype == dtype and torch.allclose(merged.double(), expected, rtol=0.01, atol=0.2)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_model_in_bfloat16_is_bound(policy):
    model = tiny().to(torch.bfloat16)
    with sparsify(model, keep=0.5, policy=policy):
        assert last(model, PIXELS.to(torch.bfloat16)).shape[1] == 9


def test_a_compiled_model_is_refused_with_the_way_out():
    with pytest.raises(InputError, match=r"before torch\.compile") as error:
        bind(torch.compile(tiny(), backend="eager"), PIXELS)  # pyright: ignore[reportArgumentType]
    assert "uncompiled" in error.value.fix

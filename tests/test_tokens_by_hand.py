"""What `lemmata tokens` prints, against the same by hand: nothing is shared but the split and the probe."""

import numpy as np
import pytest
import torch
from PIL import Image
from vision import save_model, slow_round, tiny

from lemmata.lab.stats import mean_t
from lemmata.tools import sparsity
from lemmata.tools.pictures import read_pictures, split
from lemmata.tools.probe import drop, fitted
from lemmata.tools.tokens import sparsify

STRONG = 30
AT, KEEP, LEFT = 2, 0.05, 1
# A mark that is no square, and not on the diagonal: patches 2 and 3 of the first row, and 2 of the second.
MARKED = [2, 3, 6]
CALL = ["tokens", "vit", "--images", "pictures", "--layer", AT]


def faint(label, i):
    """Noise that is a little brighter in the colour of its class, on a part of it: a probe is often wrong."""
    values = np.random.default_rng([label, i]).integers(0, 120, (16, 16, 3))
    values[2:12, 4:14, 2 if label == 0 else 0] += STRONG
    return Image.fromarray(values.astype(np.uint8))


@pytest.fixture
def vit(shell):
    """The command line beside a tiny model, and 43 and 36 images: halves of 40 and 39."""
    save_model(shell.folder / "vit")
    for label, (name, count) in enumerate((("blue", 43), ("red", 36))):
        (shell.folder / "pictures" / name).mkdir(parents=True)
        for i in range(count):
            faint(label, i).save(shell.folder / "pictures" / name / f"{i}.png")
    return shell


class ByHand:
    """The tiny ViTModel, a line of its formula at a time, in float64."""

    def __init__(self, folder):
        self.model = tiny().double()
        self.pictures = read_pictures(folder / "pictures")
        self.fit, self.held = split(self.pictures, 1000, 0)
        self.label = self.pictures.label_N

    def pixels(self, which):
        values = np.stack([np.asarray(self.pictures.image(i), np.float64) for i in which])
        return torch.from_numpy(values.transpose(0, 3, 1, 2) / 255 * 2 - 1)

    def layer(self, layer, x, size):
        """What leaves a layer, its attention as the mean over heads, and its keys as that too."""
        normed = layer.layernorm_before(x)
        parts = (getattr(layer.attention, name)(normed) for name in ("q_proj", "k_proj", "v_proj"))
        q, k, v = (part.reshape(*part.shape[:2], 2, 8).transpose(1, 2) for part in parts)
        logits = q @ k.transpose(2, 3) / 8**0.5 + size.log()[:, None, None]
        attn = logits.exp() / logits.exp().sum(-1, keepdim=True)
        x = x + layer.attention.o_proj((attn @ v).transpose(1, 2).flatten(2))
        return x + layer.mlp(layer.layernorm_after(x)), attn.mean(1), k.mean(1)

    def run(self, which, *, policy=None, left=LEFT, without=None):
        """CLS as it leaves the model, and the attention of CLS on patches in every layer."""
        with torch.no_grad():
            x = self.model.embeddings(self.pixels(which))
            size, seen = torch.ones(x.shape[:2], dtype=torch.float64), []
            for number, layer in enumerate(self.model.layers, 1):
                x, attn, key = self.layer(layer, x, size)
                seen.append(attn[:, 0, 1:].numpy())
                if number == AT and policy is not None:
                    x, size = self.fewer(x, attn, key, policy, left)
                if number == AT and without is not None:
                    x = torch.cat([x[:, : 1 + without], x[:, 2 + without :]], 1)
                    size = size[:, 1:]
            return self.model.layernorm(x)[:, 0].numpy(), seen

    def fewer(self, x, attn, key, policy, count):
        found = []
        for tokens, attended, keys in zip(x, attn[:, 0, 1:], key, strict=True):
            size = torch.ones(16, dtype=torch.float64)
            if policy == "attention":
                kept = sorted(sorted(range(16), key=lambda p: -float(attended[p]))[:count])
                left, size = tokens[1:][kept], size[kept]
            else:
                left, keys = tokens[1:], keys[1:]
                while len(left) > count:
                    left, keys, size = slow_round(left, keys, size, min(len(left) - count, len(left) // 2))
            found.append((torch.cat([tokens[:1], left]), torch.cat([torch.ones(1, dtype=torch.float64), size])))
        return torch.stack([x for x, _ in found]), torch.stack([size for _, size in found])

    def probe(self):
        return fitted(self.run(self.fit)[0], self.label[self.fit])

    def hits(self, policy=None):
        return self.probe().hits(self.run(self.held, policy=policy)[0], self.label[self.held])

    def mass(self, relevant_NP, which):
        """For every layer the share of attention on relevant patches, an image each."""
        return [
            np.array([a[r].sum() / a.sum() for a, r in zip(seen, relevant_NP, strict=True)])
            for seen in self.run(which)[1]
        ]


def test_the_formula_is_the_model(vit):
    by_hand = ByHand(vit.folder)
    found, _ = by_hand.run(by_hand.held)
    with torch.no_grad():
        expected = by_hand.model(by_hand.pixels(by_hand.held)).last_hidden_state[:, 0]
    assert np.allclose(found, expected.numpy())
    assert (len(by_hand.fit), len(by_hand.held)) == (40, 39)


@pytest.mark.parametrize("left", [2, 7, 12])
@pytest.mark.parametrize("policy", ["attention", "merge"])
def test_features_with_fewer_tokens(vit, policy, left):
    by_hand = ByHand(vit.folder)
    expected, _ = by_hand.run(by_hand.held, policy=policy, left=left)
    model, pixels = tiny(), by_hand.pixels(by_hand.held).float()
    with sparsify(model, keep=left / 16, policy=policy, layer=AT), torch.no_grad():
        found = model(pixels).last_hidden_state
    assert found.shape[1] == 1 + left
    assert np.allclose(found[:, 0].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("policy", ["attention", "merge"])
def test_accuracy_before_and_after_and_its_drop(vit, policy):
    by_hand = ByHand(vit.folder)
    before, after = by_hand.hits(), by_hand.hits(policy)
    # Data on which a mistake would show: the probe is often right and often wrong, and not of the same images.
    assert 0.55 < before.mean() < 0.95 and (before != after).any()
    record = vit.run(*CALL, "--keep", KEEP, "--policy", policy, "--json").json
    assert record["kept"] == LEFT and (record["images"]["probe"], record["images"]["held_out"]) == (40, 39)
    found, expected = record["accuracy"], drop(before, after)
    assert (found["before"], found["after"]) == pytest.approx((before.mean(), after.mean()))
    for name in ("value", "lo", "hi"):
        assert found["drop"][name] == pytest.approx(getattr(expected, name))


def test_advice_is_of_the_images_of_the_probe_and_is_checked_on_the_others(vit):
    by_hand = ByHand(vit.folder)

    def curves(which):
        attended = by_hand.run(which)[1][AT - 1]
        return np.array([np.cumsum(sorted(a, reverse=True)) / a.sum() for a in attended])

    curve = curves(by_hand.fit).mean(0)
    needed = next(k for k in range(1, 17) if curve[k - 1] >= 0.95)
    keep = np.ceil(needed / 16 * 100) / 100
    record = vit.run(*CALL, "--advise", "--json").json
    advice, left = record["advice"], int(np.ceil(keep * 16 - 1e-9))
    assert (advice["keep"], advice["images"], record["kept"]) == (pytest.approx(keep), 40, left)
    assert [point["mass"] for point in advice["curve"]] == pytest.approx(
        [curve[int(np.ceil(share * 16 - 1e-9)) - 1] for share in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)],
        abs=1e-5,
    )
    expected = mean_t(curves(by_hand.held)[:, left - 1])
    for name in ("value", "lo", "hi"):
        assert advice["carried"][name] == pytest.approx(getattr(expected, name), abs=1e-5)
    out = vit.run(*CALL, "--advise", "--policy", "random").out
    assert "held out" in out and "the policy random does not keep those, but as many" in out


def agrees(condition, mass, share_N):
    for each, mass_N in zip(condition["layers"], mass, strict=True):
        for name, expected in (("mass", mean_t(mass_N)), ("excess", mean_t(mass_N - share_N))):
            for end in ("value", "lo", "hi"):
                assert each[name][end] == pytest.approx(getattr(expected, end), abs=1e-4), (each["layer"], name)


def test_relevance_is_by_removal_after_the_layer_and_attention_is_on_it(vit):
    by_hand = ByHand(vit.folder)
    looked = by_hand.held[:8]
    probe, whole = by_hand.probe(), by_hand.run(looked)[0]
    change = np.stack(
        [
            np.linalg.norm(probe.outputs(by_hand.run(looked, without=p)[0]) - probe.outputs(whole), axis=1)
            for p in range(16)
        ],
        1,
    )
    relevant = np.zeros_like(change, bool)
    for own, of in zip(relevant, change, strict=True):
        for p in np.argsort(-of):
            own[p] = True
            if of[own].sum() > of.sum() / 2:
                break
    condition = vit.run(*CALL, "--keep", KEEP, "--json").json["condition"]
    assert (condition["relevance"], condition["images"]) == ("removal", 8)
    assert condition["share"] == pytest.approx(relevant.mean())
    agrees(condition, by_hand.mass(relevant, looked), relevant.mean(1))


def test_masks_mark_patches_where_they_are(vit):
    by_hand = ByHand(vit.folder)
    mask = np.zeros((16, 16))
    mask[0:4, 8:16] = 1
    mask[4:8, 8:12] = 1
    some = by_hand.held[:5]
    np.savez(vit.folder / "masks.npz", allow_pickle=False, **{by_hand.pictures.names[i]: mask for i in some})
    condition = vit.run(*CALL, "--mask", "masks.npz", "--json").json["condition"]
    relevant = np.zeros((5, 16), bool)
    relevant[:, MARKED] = True
    assert (condition["relevance"], condition["images"], condition["share"]) == ("mask", 5, pytest.approx(3 / 16))
    agrees(condition, by_hand.mass(relevant, some), relevant.mean(1))


def test_a_large_mask_does_not_make_the_condition_hold(vit):
    by_hand = ByHand(vit.folder)
    mask = np.ones((16, 16))
    mask[:4] = 0
    np.savez(vit.folder / "masks.npz", allow_pickle=False, **{by_hand.pictures.names[i]: mask for i in by_hand.held})
    condition = vit.run(*CALL, "--mask", "masks.npz", "--json").json["condition"]
    for each in condition["layers"]:
        assert each["mass"]["lo"] > 0.5, "more than half of the attention, which is no merit with 75 % of the patches"
        assert each["holds"] is (False if each["excess"]["hi"] < 0 else True if each["excess"]["lo"] > 0 else None)
    assert any(each["holds"] is not True for each in condition["layers"])


def test_what_is_timed_is_what_is_kept(vit, monkeypatch):
    asked = []

    def spy(bound, pixels, *, keep, policy, layer, **others):
        asked.append((keep, policy, layer, len(pixels)))
        return timed(bound, pixels, keep=keep, policy=policy, layer=layer, **others)

    timed = sparsity.speed
    monkeypatch.setattr(sparsity, "speed", spy)
    vit.run(*CALL, "--keep", KEEP, "--policy", "merge", "--json")
    assert asked == [(KEEP, "merge", AT, 16)]

"""Tiny vision transformers and images as tests of `lemmata tokens` write and read them."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 16,
    "patch_size": 4,
}
CLASSES = ("blue", "red")


def tiny(name: str = "ViTModel", *, kernel: str = "sdpa", seed: int = 0, **about) -> Any:
    """A random model of transformers with four layers, 16 patches and weights large enough that attention differs."""
    import transformers

    config: Any = getattr(transformers, name.removesuffix("ForImageClassification").removesuffix("Model") + "Config")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = getattr(transformers, name)(config(**(TINY | about))).eval()
        for weight in model.parameters():
            if weight.ndim == 2:
                nn.init.normal_(weight, std=0.4)
    model.set_attn_implementation(kernel)
    return model


def save_model(folder: Path | str, model: Any = None) -> Path:
    """A model on disk, as transformers saves it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (tiny() if model is None else model).save_pretrained(folder)
    return Path(folder)


def picture(label: int, i: int, side: int = 16) -> Image.Image:
    """Noise with a square in the colour of its class."""
    values = np.random.default_rng([label, i]).integers(0, 120, (side, side, 3)).astype(np.uint8)
    values[4:12, 4:12, 2 if label == 0 else 0] = 255
    return Image.fromarray(values)


def save_pictures(folder: Path | str, *, count: int = 20, side: int = 16) -> Path:
    """A folder with a subfolder of so many images for each class."""
    for label, name in enumerate(CLASSES):
        (Path(folder) / name).mkdir(parents=True)
        for i in range(count):
            picture(label, i, side).save(Path(folder) / name / f"{i}.png")
    return Path(folder)


def slow_round(x, key, size, count):
    """A round on lists, one image."""
    a, b = list(range(0, len(x), 2)), list(range(1, len(x), 2))
    cosine = torch.nn.functional.cosine_similarity(key[:, None], key[None], dim=-1)
    best = {i: max(b, key=lambda j: float(cosine[i, j])) for i in a}
    gone = sorted(a, key=lambda i: -float(cosine[i, best[i]]))[:count]
    groups = {j: [j, *(i for i in gone if best[i] == j)] for j in range(len(x)) if j not in gone}
    total = torch.stack([size[group].sum() for group in groups.values()])
    means = [torch.stack([(v[g] * size[g, None]).sum(0) for g in groups.values()]) / total[:, None] for v in (x, key)]
    return *means, total


class Block(nn.Module):
    """A layer as timm writes it: one map for queries, keys and values, and in plain steps if it is told so."""

    def __init__(self, width: int, heads: int, *, plain: bool, rotate: bool = False, bias: Any = None):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.heads, self.plain, self.rotate = heads, plain, rotate
        # What relative positions add to the logits.
        self.bias = bias

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if self.rotate:
            q = F.normalize(q, dim=-1)
        if self.plain:
            mixed = ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(dim=-1) @ v
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias)
        x = x + self.proj(mixed.transpose(1, 2).reshape(B, T, D))
        return x + self.mlp(self.norm2(x))


class Fused(nn.Module):
    """A vision transformer like those of timm, without CLS unless `prefix` asks for some."""

    def __init__(self, *, prefix: int = 1, layers: int = 3, width: int = 12, heads: int = 2, plain=True, **about):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, width, 4, 4)
        self.prefix = nn.Parameter(torch.randn(1, prefix, width))
        self.pos_embed = nn.Parameter(torch.randn(1, 16 + prefix, width))
        self.blocks = nn.Sequential(*[Block(width, heads, plain=plain, **about) for _ in range(layers)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 5)
        self.count = prefix

    def forward(self, pixels):
        x = self.patch_embed(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.prefix.expand(len(x), -1, -1), x], 1) + self.pos_embed
        x = self.norm(self.blocks(x))
        return self.head(x[:, 0] if self.count else x.mean(1))

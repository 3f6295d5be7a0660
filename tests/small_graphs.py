"""Graphs as tests of `lemmata neighbours` write and read them."""

import numpy as np
import torch

__all__ = ["arrays", "save_graph"]


def arrays(*, homophilous=True, nodes=240, seed=0):
    """Two classes whose neighbours are alike, or unlike, nine times of ten; features are weak."""
    rng = np.random.default_rng(seed)
    label_N = np.arange(nodes) % 2
    one_K = rng.integers(nodes, size=2 * nodes)
    alike_K = rng.random(2 * nodes) < (0.9 if homophilous else 0.1)
    want_K = np.where(alike_K, label_N[one_K], 1 - label_N[one_K])
    other_K = rng.integers(nodes // 2, size=2 * nodes) * 2 + want_K
    feature_NC = rng.normal(size=(nodes, 4)) + 0.6 * np.eye(4)[label_N]
    return {"edges": np.stack([one_K, other_K]), "features": feature_NC.astype(np.float32), "labels": label_N}


def save_graph(path, **changes):
    """As .npz, or with this ending as .pt."""
    found = arrays() | changes
    if str(path).endswith(".pt"):
        names = ("edge_index", "x", "y")
        torch.save({n: torch.from_numpy(np.asarray(a)) for n, a in zip(names, found.values(), strict=True)}, path)
    else:
        np.savez(path, **found)
    return path

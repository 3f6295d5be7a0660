"""Constants that the experiments of the chain-of-thought paper have in common, and the networks that claims share.

What the paper leaves open was chosen on seeds from 1000 on, which no verdict reads. Every claim has an experiment of
its own, with the conditions that it asks about: the one-layer network trains in a moment, and what is measured of it
takes longer than the training. How an example goes wrong (`split`), the kind and size of the noise, and the number of
training steps move the curves more than anything else, so they are conditions wherever curves are measured.
"""

from __future__ import annotations

from lemmata.cot.network import OneLayer
from lemmata.lab.grid import ByProfile
from lemmata.lab.trainee import Value

__all__ = ["BASE", "EPS", "LOSS", "SEEDS", "SETTINGS", "SETTING_SEEDS", "STATES"]

SEEDS = ByProfile(quick=5, default=10, full=20)
SETTING_SEEDS = ByProfile(quick=0, default=3, full=5)

# Target of the 0-1 error, and of the loss where training is asked about.
EPS = 0.01
LOSS = 0.02
# M', the number of TSR patterns.
STATES = 10

BASE = OneLayer()

# Other choices that a reader could have made, for the one-layer network.
SETTINGS: dict[str, dict[str, Value]] = {
    "W_V trained": {"train_value": True},
    "lr 3": {"lr": 3.0},
    "delta 0.3": {"delta": 0.3},
    "random permutations as tasks": {"tasks": "permutations"},
}

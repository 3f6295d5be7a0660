"""Graph transformers (Li et al., ICML 2024, arXiv 2406.01977), a room a concern.

    data        planted graphs whose labels are the majority vote at one distance, and their margins
    network     the one-layer network with a bias a distance, without it, or with uniform attention
    theory      the majority-vote margin, the core distance, labelled nodes and steps
    probes      losses on other nodes, biases, and attention at the core distance
    claims      what is asked, one file a claim

The pieces work on their own:

>>> net = OneLayer(core=1, margin=0.9, gamma_d=0.8).train(seeds=[0])
>>> nodes = held_out(net)
>>> bool(((outputs(net, nodes) > 0) == (nodes.label_EB > 0)).float().mean() > 0.9)
True
"""

from lemmata.graph.network import OneLayer as OneLayer
from lemmata.graph.network import attention as attention
from lemmata.graph.network import forward as forward
from lemmata.graph.paper import PAPER as PAPER
from lemmata.graph.probes import held_out as held_out
from lemmata.graph.probes import mass as mass
from lemmata.graph.probes import outputs as outputs
from lemmata.graph.theory import condition as condition
from lemmata.graph.theory import core_distance as core_distance
from lemmata.graph.theory import labels as labels
from lemmata.graph.theory import margins as margins
from lemmata.graph.theory import steps as steps

__all__ = [
    "PAPER",
    "OneLayer",
    "attention",
    "condition",
    "core_distance",
    "forward",
    "held_out",
    "labels",
    "margins",
    "mass",
    "outputs",
    "steps",
]

"""Task vectors (Li et al., ICLR 2025, arXiv 2504.10957), a room a concern.

    data        samples of binary tasks by majority vote, as counts or as tokens
    network     the one-layer network, fine-tuned on several tasks from one start
    vectors     task vectors as parameters, and sums of them
    theory      the three regions of coefficients, rank and rows, estimates of the tasks' correlation
    probes      losses and accuracies of edited networks; weights has their ranks and rows
    coloured    networks on coloured digits (coloured_mlp, coloured_vit), from the images of digits
    language    a language model on books
    claims      what is asked, one file a claim

The pieces work on their own:

>>> net = OneLayer(alpha=0.6, steps=100).train(seeds=[0])
>>> import torch
>>> lambdas = torch.tensor([[1.0, 0.0], [1.0, multi_task(0.6, beta=0.1).lo]])
>>> (scores(net, lambdas, fresh_samples(net, 200, "example")).hinge_ELU[0] < 0.05).tolist()
[[True, False], [True, True]]
"""

from lemmata.editing.data import directions as directions
from lemmata.editing.network import OneLayer as OneLayer
from lemmata.editing.network import forward as forward
from lemmata.editing.paper import PAPER as PAPER
from lemmata.editing.probes import fresh_samples as fresh_samples
from lemmata.editing.probes import scores as scores
from lemmata.editing.theory import function_similarity as function_similarity
from lemmata.editing.theory import multi_task as multi_task
from lemmata.editing.theory import out_of_domain as out_of_domain
from lemmata.editing.theory import unlearning as unlearning
from lemmata.editing.vectors import edited as edited

__all__ = [
    "PAPER",
    "OneLayer",
    "directions",
    "edited",
    "forward",
    "fresh_samples",
    "function_similarity",
    "multi_task",
    "out_of_domain",
    "scores",
    "unlearning",
]

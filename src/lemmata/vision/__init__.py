"""Shallow vision transformers (Li et al., ICLR 2023, arXiv 2302.06015), a room a concern.

    data        samples of tokens with a majority pattern, as shares of patterns or as tokens
    network     the one-layer network with trained or uniform attention
    theory      samples, steps, and the ceiling of attention
    probes      losses on new samples, and attention on relevant tokens
    claims      what is asked, one file a claim

The pieces work on their own:

>>> net = OneLayer(alpha_s=0.5, N=100).train(seeds=[0])
>>> new = new_samples(net, 200)
>>> bool(((outputs(net, new) > 0) == (new.label_EB > 0)).all())
True
"""

from lemmata.vision.network import OneLayer as OneLayer
from lemmata.vision.network import attention as attention
from lemmata.vision.network import forward as forward
from lemmata.vision.paper import PAPER as PAPER
from lemmata.vision.probes import mass as mass
from lemmata.vision.probes import new_samples as new_samples
from lemmata.vision.probes import outputs as outputs
from lemmata.vision.theory import allowed as allowed
from lemmata.vision.theory import ceiling as ceiling
from lemmata.vision.theory import samples as samples
from lemmata.vision.theory import steps as steps

__all__ = [
    "PAPER",
    "OneLayer",
    "allowed",
    "attention",
    "ceiling",
    "forward",
    "mass",
    "new_samples",
    "outputs",
    "samples",
    "steps",
]

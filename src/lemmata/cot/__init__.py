"""Chain-of-thought (Li et al., ICLR 2025, arXiv 2410.02167), a room a concern.

    data        training prompts, as counts; reasoning has the constants and the draws
    network     the one-layer network; deep is the one of three layers and two heads
    theory      step matrices, rates, and the oracle when attention is perfect
    mistakes    how test prompts go wrong; testing draws them, answers has the errors of networks
    probes      where attention goes, and when
    claims      what is asked, one file a claim

The pieces work on their own:

>>> net = OneLayer(steps=400).train(seeds=[0])
>>> prompts = probe_prompts(net, prompts=200)
>>> same_step_and_pattern = group_masses(OneLayer.attentions(net.params, prompts), prompts)[0, 0, 0, 0]
>>> bool(same_step_and_pattern > 0.8)
True
>>> bool(errors(net, [TestSet(alpha=0.8)], [60], prompts=200) < 0.1)
True
>>> transitions([[[0.6, 0.4], [0.4, 0.6]], [[0.4, 0.6], [0.8, 0.2]]]).condition_1
False
"""

from lemmata.cot.answers import errors as errors
from lemmata.cot.data import Prompts as Prompts
from lemmata.cot.deep import Deep as Deep
from lemmata.cot.network import OneLayer as OneLayer
from lemmata.cot.network import attention as attention
from lemmata.cot.network import forward as forward
from lemmata.cot.paper import PAPER as PAPER
from lemmata.cot.probes import group_masses as group_masses
from lemmata.cot.probes import probe_prompts as probe_prompts
from lemmata.cot.testing import TestSet as TestSet
from lemmata.cot.theory import cot_examples as cot_examples
from lemmata.cot.theory import cot_oracle as cot_oracle
from lemmata.cot.theory import icl_examples as icl_examples
from lemmata.cot.theory import icl_oracle as icl_oracle
from lemmata.cot.theory import transitions as transitions

__all__ = [
    "PAPER",
    "Deep",
    "OneLayer",
    "Prompts",
    "TestSet",
    "attention",
    "cot_examples",
    "cot_oracle",
    "errors",
    "forward",
    "group_masses",
    "icl_examples",
    "icl_oracle",
    "probe_prompts",
    "transitions",
]

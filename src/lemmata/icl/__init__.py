"""In-context learning of binary classification (Li et al., ICML 2024, arXiv 2402.15607), a room a concern.

    data        prompts, in-domain and out-of-domain, in pattern coordinates
    network     the one-layer network; gpt is the small GPT-2
    theory      the oracle, rates and shares
    probes      what is measured inside; testing is what is measured outside
    claims      what is asked, one file a claim

The pieces work on their own:

>>> net = OneLayer(steps=150).train(seeds=[0])
>>> prompts = TestSet(l=20, alpha=0.8, prompts=100).ensemble(net)
>>> mass = same_pattern_mass(attention(net.params, prompts), prompts)
>>> bool(mass > 0.8)
True
"""

from lemmata.icl.data import Prompts as Prompts
from lemmata.icl.data import Shift as Shift
from lemmata.icl.gpt import SmallGPT as SmallGPT
from lemmata.icl.network import OneLayer as OneLayer
from lemmata.icl.network import attention as attention
from lemmata.icl.network import forward as forward
from lemmata.icl.paper import PAPER as PAPER
from lemmata.icl.probes import gap as gap
from lemmata.icl.probes import row_norms as row_norms
from lemmata.icl.probes import same_pattern_mass as same_pattern_mass
from lemmata.icl.probes import value_rows as value_rows
from lemmata.icl.testing import TestSet as TestSet
from lemmata.icl.testing import outputs as outputs
from lemmata.icl.theory import length_needed as length_needed
from lemmata.icl.theory import oracle as oracle

__all__ = [
    "PAPER",
    "OneLayer",
    "Prompts",
    "Shift",
    "SmallGPT",
    "TestSet",
    "attention",
    "forward",
    "gap",
    "length_needed",
    "oracle",
    "outputs",
    "row_norms",
    "same_pattern_mass",
    "value_rows",
]

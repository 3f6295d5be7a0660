"""In-context learning of binary classification (Li et al., ICML 2024, arXiv 2402.15607), a room a concern."""

from lemmata.icl.network import OneLayer as OneLayer
from lemmata.icl.network import attention as attention

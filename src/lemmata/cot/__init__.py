"""Chain-of-thought."""

from lemmata.cot.network import OneLayer as OneLayer

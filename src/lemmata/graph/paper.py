"""The paper on graph transformers, its claims and what they cite."""

from __future__ import annotations

from lemmata.graph.claims import confusion, core, distances, encoding, labels, robustness, samples
from lemmata.lab.claim import Paper

__all__ = ["PAPER"]

BIBLIOGRAPHY = {
    "li2024graph": """@inproceedings{li2024graph,
  title     = {What Improves the Generalization of Graph Transformers? A Theoretical Dive into the Self-attention and
               Positional Encoding},
  author    = {Li, Hongkang and Wang, Meng and Ma, Tengfei and Liu, Sijia and Zhang, Zaixi and Chen, Pin-Yu},
  booktitle = {International Conference on Machine Learning},
  series    = {Proceedings of Machine Learning Research},
  volume    = {235},
  pages     = {28784--28829},
  year      = {2024},
  eprint    = {2406.01977},
}""",
}

PAPER = Paper(
    id="graph",
    title="What Improves the Generalization of Graph Transformers? A Theoretical Dive into the Self-attention and "
    "Positional Encoding",
    authors="Hongkang Li, Meng Wang, Tengfei Ma, Sijia Liu, Zaixi Zhang, Pin-Yu Chen",
    venue="ICML 2024",
    arxiv="2406.01977",
    bibliography=BIBLIOGRAPHY,
    claims=tuple(module.CLAIM for module in (core, encoding, samples, confusion, robustness, distances, labels)),
)

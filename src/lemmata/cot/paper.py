"""The chain-of-thought paper, its claims and what they cite."""

from __future__ import annotations

from lemmata.cot.claims import (
    context,
    coverage,
    icl_context,
    induction,
    layers,
    mechanism,
    shift,
    test_length,
    train_length,
    training,
    versus_icl,
)
from lemmata.lab.claim import Paper

__all__ = ["PAPER"]

BIBLIOGRAPHY = {
    "li2025cot": """@inproceedings{li2025cot,
  title     = {Training Nonlinear Transformers for Chain-of-Thought Inference: A Theoretical Generalization Analysis},
  author    = {Li, Hongkang and Lu, Songtao and Chen, Pin-Yu and Cui, Xiaodong and Wang, Meng},
  booktitle = {International Conference on Learning Representations},
  year      = {2025},
  eprint    = {2410.02167},
}""",
    "olsson2022": """@article{olsson2022,
  title   = {In-context Learning and Induction Heads},
  author  = {Olsson, Catherine and others},
  journal = {Transformer Circuits Thread},
  year    = {2022},
  eprint  = {2209.11895},
}""",
}

PAPER = Paper(
    id="cot",
    title="Training Nonlinear Transformers for Chain-of-Thought Inference: A Theoretical Generalization Analysis",
    authors="Hongkang Li, Songtao Lu, Pin-Yu Chen, Xiaodong Cui, Meng Wang",
    venue="ICLR 2025",
    arxiv="2410.02167",
    bibliography=BIBLIOGRAPHY,
    claims=tuple(
        module.CLAIM
        for module in (
            training,
            coverage,
            train_length,
            test_length,
            context,
            icl_context,
            versus_icl,
            mechanism,
            layers,
            shift,
            induction,
        )
    ),
)

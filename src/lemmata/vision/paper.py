"""The paper on shallow vision transformers, its claims and what they cite."""

from __future__ import annotations

from lemmata.lab.claim import Paper
from lemmata.vision.claims import attention, iterations, noise, samples, sparsify, spurious, spurious_cifar

__all__ = ["PAPER"]

BIBLIOGRAPHY = {
    "li2023vision": """@inproceedings{li2023vision,
  title     = {A Theoretical Understanding of Shallow Vision Transformers: Learning, Generalization, and Sample
               Complexity},
  author    = {Li, Hongkang and Wang, Meng and Liu, Sijia and Chen, Pin-Yu},
  booktitle = {International Conference on Learning Representations},
  year      = {2023},
  eprint    = {2302.06015},
}""",
}

PAPER = Paper(
    id="vision",
    title="A Theoretical Understanding of Shallow Vision Transformers: Learning, Generalization, and Sample Complexity",
    authors="Hongkang Li, Meng Wang, Sijia Liu, Pin-Yu Chen",
    venue="ICLR 2023",
    arxiv="2302.06015",
    bibliography=BIBLIOGRAPHY,
    claims=tuple(
        module.CLAIM for module in (samples, iterations, attention, noise, sparsify, spurious, spurious_cifar)
    ),
)

"""The paper on task vectors, its claims and what they cite."""

from __future__ import annotations

from lemmata.editing.claims import (
    coloured_digits,
    coloured_mnist,
    coloured_ood,
    correlation,
    language,
    low_rank,
    multi_task,
    out_of_domain,
    sparsity,
    unlearning,
)
from lemmata.lab.claim import Paper

__all__ = ["PAPER"]

BIBLIOGRAPHY = {
    "li2025editing": """@inproceedings{li2025editing,
  title     = {When is Task Vector Provably Effective for Model Editing?
               A Generalization Analysis of Nonlinear Transformers},
  author    = {Li, Hongkang and Zhang, Yihua and Zhang, Shuai and Chen, Pin-Yu and Liu, Sijia and Wang, Meng},
  booktitle = {International Conference on Learning Representations},
  year      = {2025},
  eprint    = {2504.10957},
}""",
}

PAPER = Paper(
    id="editing",
    title="When is Task Vector Provably Effective for Model Editing? A Generalization Analysis of Nonlinear "
    "Transformers",
    authors="Hongkang Li, Yihua Zhang, Shuai Zhang, Pin-Yu Chen, Sijia Liu, Meng Wang",
    venue="ICLR 2025",
    arxiv="2504.10957",
    bibliography=BIBLIOGRAPHY,
    claims=tuple(
        module.CLAIM
        for module in (
            multi_task,
            unlearning,
            out_of_domain,
            low_rank,
            sparsity,
            correlation,
            coloured_digits,
            coloured_ood,
            coloured_mnist,
            language,
        )
    ),
)

"""The ICL paper, its claims and what they cite."""

from __future__ import annotations

from lemmata.icl.claims import (
    attention,
    baselines,
    in_domain,
    iterations,
    layers,
    lengths,
    neurons,
    out_of_domain,
    pruning,
    resources,
    test_length,
    train_length,
)
from lemmata.lab.claim import Paper

__all__ = ["PAPER"]

BIBLIOGRAPHY = {
    "li2024icl": """@inproceedings{li2024icl,
  title     = {How Do Nonlinear Transformers Learn and Generalize in In-Context Learning?},
  author    = {Li, Hongkang and Wang, Meng and Lu, Songtao and Cui, Xiaodong and Chen, Pin-Yu},
  booktitle = {International Conference on Machine Learning},
  series    = {Proceedings of Machine Learning Research},
  volume    = {235},
  pages     = {28734--28783},
  year      = {2024},
  eprint    = {2402.15607},
}""",
    "garg2022": """@inproceedings{garg2022,
  title     = {What Can Transformers Learn In-Context? A Case Study of Simple Function Classes},
  author    = {Garg, Shivam and Tsipras, Dimitris and Liang, Percy and Valiant, Gregory},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2022},
}""",
    "pedregosa2011": """@article{pedregosa2011,
  title   = {Scikit-learn: Machine Learning in Python},
  author  = {Pedregosa, Fabian and others},
  journal = {Journal of Machine Learning Research},
  volume  = {12},
  pages   = {2825--2830},
  year    = {2011},
}""",
}

PAPER = Paper(
    id="icl",
    title="How Do Nonlinear Transformers Learn and Generalize in In-Context Learning?",
    authors="Hongkang Li, Meng Wang, Songtao Lu, Xiaodong Cui, Pin-Yu Chen",
    venue="ICML 2024",
    arxiv="2402.15607",
    bibliography=BIBLIOGRAPHY,
    claims=tuple(
        module.CLAIM
        for module in (
            in_domain,
            iterations,
            resources,
            train_length,
            test_length,
            out_of_domain,
            lengths,
            pruning,
            attention,
            neurons,
            layers,
            baselines,
        )
    ),
)

"""What a language model still knows of three books after an edit: Rouge-L and perplexity (Li et al., arXiv 2504.10957).

    Rouge-L      F-measure of the longest common subsequence of words, between the true continuation of a passage and
                 the model's greedy one, the mean over passages; by the package rouge-score, without stemming
    perplexity   exp of the mean cross-entropy of the next token

Rouge-L is of passages that training has seen, as in Table E. Perplexity is of those and of others of the same books
(part "seen", "unseen"): forgetting that reaches both is of a style, not of a text. Weights that give no finite numbers
give measurements that are not finite either.

Shapes: N passages, P tokens of a prompt, C of a continuation, L of a passage, V words of the vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor

from lemmata.editing import language_model
from lemmata.editing.language import ROLES, Language, edited, token_loss
from lemmata.lab.ensemble import Params, Snapshot
from lemmata.lab.errors import ConstantError
from lemmata.lab.trainee import Measure, Row, coordinate

__all__ = ["LAMBDAS", "Forgetting", "continuations", "perplexity", "rouge_l", "with_weights"]

LAMBDAS = (0.0, -0.2, -0.4, -0.6, -0.8, -1.0)
# Passages that go through the model together.
AT_ONCE = 32


def with_weights(checkpoint: str, params: Params) -> Any:
    """A model of its own with these weights, on their device."""
    network = copy.deepcopy(language_model.model(checkpoint)).to(next(iter(params.values())).device)
    for name, p in network.named_parameters():
        p.copy_(params[name])
    return network


@torch.no_grad()
def perplexity(network: Any, token_NL: Tensor) -> float:
    """The exponential of the mean loss of a token, over all passages and all their tokens but each one's first."""
    losses = [token_loss(network(input_ids=part, use_cache=False).logits, part) for part in token_NL.split(AT_ONCE)]
    return torch.cat(losses).double().mean().exp().item()


@torch.no_grad()
def continuations(network: Any, prompt_NP: Tensor, count: int) -> Tensor:
    """The greedy continuation of each prompt by so many tokens, token_NC; -1 where logits are not finite.

    No token that ends a text is taken: every continuation is as long as the true one.
    """
    return torch.cat([_greedy(network, part, count) for part in prompt_NP.split(AT_ONCE)])


def _greedy(network: Any, token_NP: Tensor, count: int) -> Tensor:
    from transformers import GenerationConfig

    # Without a pad token of its own a checkpoint would be asked for one; no prompt is shorter than another.
    asked = GenerationConfig(
        max_new_tokens=count,
        min_new_tokens=count,
        do_sample=False,
        pad_token_id=0,
        output_logits=True,
        return_dict_in_generate=True,
    )
    found = network.generate(token_NP, attention_mask=torch.ones_like(token_NP), generation_config=asked)
    finite_NC = torch.stack([logit_NV.isfinite().all(-1) for logit_NV in found.logits], 1)
    return torch.where(finite_NC, found.sequences[:, token_NP.shape[1] :], -1)


def rouge_l(texts: Sequence[str], truths: Sequence[str]) -> float:
    """The mean F-measure of Rouge-L over pairs of a text and what it should be.

    >>> round(rouge_l(["the cat sat down"], ["the dog sat"]), 4)  # "the ... sat": 2 of 4 words, and 2 of 3
    0.5714
    """
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    scores = [scorer.score(truth, text)["rougeL"].fmeasure for text, truth in zip(texts, truths, strict=True)]
    return float(np.mean(scores))


@final
@dataclass(frozen=True, kw_only=True)
class Forgetting(Measure):
    """Rows "rouge" and "perplexity" at x = lambda, by book: its role, "edited", "sibling" or "unrelated"; and part."""

    name: ClassVar[str] = "forgetting"

    lambdas: tuple[float, ...] = coordinate(LAMBDAS, "coefficients lambda of the task vector", origin="given")
    passages: int = 64
    prompt: int = 64
    continuation: int = 64

    def validate(self, config: Language) -> None:
        """Passages have to be long enough for both, and enough of them trained on."""
        needed = self.prompt + self.continuation
        if config.window < needed:
            fix = f"choose window of at least {needed}"
            raise ConstantError(f"passages of {needed} tokens to continue", f"window = {config.window}", fix)
        if config.seen < self.passages:
            fix = f"choose seen of at least {self.passages}"
            raise ConstantError(f"{self.passages} passages of each book to measure", f"seen = {config.seen}", fix)

    def work(self, config: Language) -> float:
        """Forward passes of all passages, twice, and of each token of the prompts and continuations."""
        each = 2 * config.window + self.prompt + self.continuation
        return config.operations() * each * self.passages * len(ROLES) * len(self.lambdas)

    def steps(self, config: Language) -> Sequence[int]:
        """After the last step of both phases."""
        return (config.total,)

    def finished(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[bool]:
        """All, after the last step of both phases."""
        return [snapshot.step >= config.total for config in snapshot.configs]

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """The rows of every member, one after another."""
        found = []
        for e, (config, seed) in enumerate(zip(snapshot.configs, snapshot.seeds, strict=True)):
            member = {name: p[e] for name, p in snapshot.params.items()}
            found.append([row for lam in self.lambdas for row in self._of_edit(config, seed, member, lam)])
        return found

    def _of_edit(self, config: Language, seed: int, member: Params, lam: float) -> list[Row]:
        network = with_weights(config.checkpoint, edited(config, member, lam))
        found = []
        for role in ROLES:
            both = config.passages(role, seed)
            for part, token_NL in (("seen", both.seen_NL), ("unseen", both.unseen_NL)):
                token_NL = token_NL[: self.passages].to(network.device)
                value = perplexity(network, token_NL)
                found.append(Row("perplexity", lam, value, {"book": role, "part": part}))
            seen_NL = both.seen_NL[: self.passages].to(network.device)
            value = self._rouge(network, config.checkpoint, seen_NL)
            found.append(Row("rouge", lam, value, {"book": role, "part": "seen"}))
        return found

    def _rouge(self, network: Any, checkpoint: str, token_NL: Tensor) -> float:
        prompt_NP, true_NC = token_NL[:, : self.prompt + self.continuation].split([self.prompt, self.continuation], 1)
        token_NC = continuations(network, prompt_NP, self.continuation)
        if (token_NC < 0).any():
            return float("nan")
        read = language_model.tokenizer(checkpoint)
        texts, truths = (read.batch_decode(part, skip_special_tokens=True) for part in (token_NC, true_NC))
        return rouge_l(texts, truths)

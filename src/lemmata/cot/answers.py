"""What a trained one-layer network answers to test prompts, with and without intermediate steps, and its errors.

    symbol      meaning                                                                          shape
    key         W_Q^T W_K of one member (`lemmata.cot.network`), G = 2 M + K                     key_QG, Q = M + K
    u           a column (x; y; c_j) scores u_x . x + u_y . y + u_c[j]                           u_CD, u_CD, u_CK
    value       inner products of W_V p with the TSR patterns                                    value_BLKX
    sum         values of the first l examples, summed with weights exp(score - shift)           sum_BNCX

Test vectors lie anywhere in R^d_X. Beyond the span of the TRR patterns the matrices are what they were at the start:
delta I in W_Q and W_K, the selector in W_V. The nearest pattern to an output is that of the largest inner product,
since all have one norm; so values are all that is needed of the columns, and what the softmax divides by is not.

From the second step on the query is one of the X patterns, without noise. So the columns meet X candidates, whatever
was answered, and all prompt lengths are differences of the same sums.

Shapes: as in `lemmata.cot.testing`; C candidates for a query: one in the first step, X from then on.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from lemmata.cot.network import OneLayer, query_key
from lemmata.cot.testing import TestPrompts, TestSet, slices
from lemmata.lab.ensemble import Params, Snapshot
from lemmata.lab.errors import InputError
from lemmata.lab.trainee import Measure, Row, coordinate

__all__ = ["ErrorCurve", "Reader", "answers", "errors"]


@final
@dataclass(frozen=True)
class Reader:
    """One member's weights, ready to read test prompts: key_QG, and W_V as value_MG where it is not the selector."""

    key_QG: Tensor
    value_MG: Tensor | None
    delta: float

    @classmethod
    def of(cls, config: OneLayer, params: Params) -> Reader:
        """The reader of a network without the member axis."""
        key_EQG = query_key({name: p.unsqueeze(0) for name, p in params.items()})
        return cls(key_EQG[0], params["W_V"] if config.train_value else None, config.delta)

    @property
    def M(self) -> int:
        """Number of TRR patterns."""
        Q, G = self.key_QG.shape
        return G - Q

    def looks_for(self, query_CD: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """What queries (x; 0; c_k) look for in the two halves and the code of a column: u_CD, u_CD, u_CK."""
        M = self.M
        u_CG = query_CD[:, :M] @ self.key_QG[:M] + self.key_QG[M + k]
        outside_CD = query_CD[:, M:]
        x_CD = torch.cat([u_CG[:, :M], self.delta**2 * outside_CD], -1)
        y_CD = torch.cat([u_CG[:, M : 2 * M], torch.zeros_like(outside_CD)], -1)
        return x_CD, y_CD, u_CG[:, 2 * M :]

    def values(self, x: Tensor, y: Tensor, code_K: Tensor, pattern_XD: Tensor) -> Tensor:
        """Inner products of W_V p with the TSR patterns, for columns p = (x; y; c): (..., X)."""
        if self.value_MG is None:
            return y @ pattern_XD.T
        M = self.M
        x_XG, y_XG, code_XG = (pattern_XD[:, :M] @ self.value_MG).split([M, M, self.value_MG.shape[1] - 2 * M], -1)
        outside = y[..., M:] @ pattern_XD[:, M:].T
        return x[..., :M] @ x_XG.T + y[..., :M] @ y_XG.T + outside + code_K @ code_XG.T


def answers(reader: Reader, prompts: TestPrompts, lengths: Sequence[int], *, steps: bool) -> Tensor:
    """The states answered at each length, which rise: (B, N, K) with intermediate steps and (B, N, 1) without.

    A diverged network's answer is -1, which is no state. Ties go to the first state; which role it plays in a prompt is
    random.
    """
    return _step_by_step(reader, prompts, lengths) if steps else _at_once(reader, prompts, lengths)


def _step_by_step(reader: Reader, prompts: TestPrompts, lengths: Sequence[int]) -> Tensor:
    vector_BLSD, pattern_XD = prompts.vector_BLSD, prompts.pattern_XD
    B, L, S, D = vector_BLSD.shape
    N, K = len(lengths), S - 1
    code_KK = torch.eye(K)
    value_BLKX = reader.values(vector_BLSD[:, :, :-1], vector_BLSD[:, :, 1:], code_KK, pattern_XD)
    # The query's own columns so far: their values, and what a query scores on them.
    own: list[tuple[Tensor, Tensor, int]] = []
    found: list[Tensor] = []
    query_BND = prompts.query_BD.unsqueeze(1).expand(B, N, D)
    for k in range(K):
        if k == 0:
            x_BD, y_BD, code_BK = reader.looks_for(prompts.query_BD, k)
            both_BLS2 = (vector_BLSD.view(B, L * S, D) @ torch.stack([x_BD, y_BD], -1)).view(B, L, S, 2)
            score_BLKC = both_BLS2[:, :, :-1, :1] + both_BLS2[:, :, 1:, 1:] + code_BK.view(B, 1, K, 1)
        else:
            x_XD, y_XD, code_XK = reader.looks_for(pattern_XD, k)
            both_BLSC = vector_BLSD @ torch.cat([x_XD, y_XD]).T
            score_BLKC = both_BLSC[:, :, :-1, : len(x_XD)] + both_BLSC[:, :, 1:, len(x_XD) :] + code_XK.T
        shift_BC, sum_BNCX = _prefix_sums(score_BLKC, value_BLKX, lengths)
        which_BN = found[-1].clamp_min(0) if found else torch.zeros(B, N, dtype=torch.int64)
        sum_BNX = sum_BNCX.gather(2, which_BN.view(B, N, 1, 1).expand(-1, -1, 1, sum_BNCX.shape[-1])).squeeze(2)
        if own:
            x_CD, y_CD, code_CK = reader.looks_for(query_BND.reshape(B * N, D), k)
            for x_BND, y_BND, j in own:
                score_C = (
                    (x_CD * x_BND.reshape(B * N, D)).sum(-1) + (y_CD * y_BND.reshape(B * N, D)).sum(-1) + code_CK[:, j]
                )
                weight_BN1 = (score_C.view(B, N) - shift_BC.gather(1, which_BN)).exp().unsqueeze(-1)
                sum_BNX = sum_BNX + weight_BN1 * reader.values(x_BND, y_BND, code_KK[j], pattern_XD)
        found.append(_nearest(sum_BNX))
        next_BND = pattern_XD[found[-1]]
        own.append((query_BND, next_BND, k))
        query_BND = next_BND
    return torch.stack(found, -1)


def _at_once(reader: Reader, prompts: TestPrompts, lengths: Sequence[int]) -> Tensor:
    vector_BLSD = prompts.vector_BLSD
    B, K = len(vector_BLSD), vector_BLSD.shape[2] - 1
    code_KK = torch.eye(K)
    x_BLD, y_BLD = vector_BLSD[:, :, 0], vector_BLSD[:, :, -1]
    x_BD, y_BD, code_BK = reader.looks_for(prompts.query_BD, 0)
    score_BL = torch.einsum("bd,bld->bl", x_BD, x_BLD) + torch.einsum("bd,bld->bl", y_BD, y_BLD) + code_BK[:, :1]
    value_BLX = reader.values(x_BLD, y_BLD, code_KK[0], prompts.pattern_XD)
    shift_BC, sum_BNCX = _prefix_sums(score_BL.view(B, -1, 1, 1), value_BLX.unsqueeze(2), lengths)
    # As many columns of zeros with each other code as there are examples.
    zero_D = torch.zeros_like(prompts.pattern_XD[0])
    empty_KX = torch.stack([reader.values(zero_D, zero_D, code_K, prompts.pattern_XD) for code_K in code_KK])[1:]
    empty_BX = (code_BK[:, 1:] - shift_BC).exp() @ empty_KX
    return _nearest(sum_BNCX[:, :, 0] + torch.tensor(lengths).view(-1, 1) * empty_BX.unsqueeze(1)).unsqueeze(-1)


def _prefix_sums(score_BLKC: Tensor, value_BLKX: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The shift of the scores and the weighted sums of values over the first l examples, for each length."""
    shift_BC = score_BLKC.amax((1, 2))
    weight_BLKC = (score_BLKC - shift_BC[:, None, None]).exp_()
    parts = [
        weight_BLKC[:, a:b].flatten(1, 2).transpose(1, 2) @ value_BLKX[:, a:b].flatten(1, 2)
        for a, b in itertools.pairwise((0, *lengths))
    ]
    return shift_BC, torch.stack(parts, 1).cumsum(1)


def _nearest(sum_BNX: Tensor) -> Tensor:
    """The TSR pattern with the largest inner product; none, -1, where an inner product is not a number."""
    return sum_BNX.argmax(-1).masked_fill(sum_BNX.isnan().any(-1), -1)


def errors(
    snapshot: Snapshot, tests: Sequence[TestSet], lengths: Sequence[int], *, prompts: int = 1024, steps: bool = True
) -> Tensor:
    """The 0-1 errors of trained one-layer networks on test sets of as many states each, error_ETN for T sets.

    The lengths rise. With intermediate steps the error is that of the K answers, on average; without, of the one.

    Raises:
        ConstantError: a test set that cannot be drawn for these networks.
        InputError: lengths that do not rise, or test sets with different numbers of states.

    >>> from lemmata import cot
    >>> net = cot.OneLayer(steps=500).train(seeds=[0])
    >>> error_N = errors(net, [TestSet(alpha=0.8)], [0, 10, 40], prompts=256)[0, 0]
    >>> bool(error_N[0] > 0.8 and error_N[2] < 0.1)
    True
    """
    if not lengths or lengths[0] < 0 or any(a >= b for a, b in itertools.pairwise(lengths)):
        raise InputError("lengths that rise from 0 or more", f"{list(lengths)}", "sort them, and drop repeated ones")
    if prompts < 1 or "W_Q" not in snapshot.params:
        got = f"{prompts} prompts and a network of {type(snapshot.configs[0]).__name__}"
        raise InputError("at least one prompt, and one-layer networks", got, "train a cot.OneLayer")
    if len({test.states for test in tests}) != 1:
        got = f"{len(tests)} with {len({test.states for test in tests})} numbers of states"
        raise InputError("test sets with one number of states", got, "ask for those with other states on their own")
    error_ETN = torch.zeros(len(snapshot.seeds), len(tests), len(lengths), dtype=torch.float64)
    for e, (config, seed) in enumerate(zip(snapshot.configs, snapshot.seeds, strict=True)):
        for test in tests:
            test.check(config)
        patterns = [test.patterns(config, seed) for test in tests]
        with torch.no_grad():
            # Test prompts are drawn and answered where NumPy is, whatever the network was trained on.
            reader = Reader.of(config, {name: p[e].cpu() for name, p in snapshot.params.items()})
            for numbers in slices(config, seed, prompts=prompts, l=max(1, *lengths), states=tests[0].states):
                for t, test in enumerate(tests):
                    drawn = test.prompts(numbers, patterns[t])
                    answer_BNK = answers(reader, drawn, lengths, steps=steps)
                    right_B1K = drawn.path_BS[:, None, 1:] if steps else drawn.path_BS[:, None, -1:]
                    error_ETN[e, t] += (answer_BNK != right_B1K).double().mean(-1).sum(0)
    return error_ETN / prompts


@final
@dataclass(frozen=True, kw_only=True)
class ErrorCurve(Measure):
    """0-1 error of a one-layer network against the number of examples, with or without intermediate steps.

    Every combination of the sweeps is a test set; see `lemmata.cot.testing` and `lemmata.cot.mistakes`. Without
    intermediate steps tau and rho are those of the outcome, tau_o and rho_o, if `split` is "last". Splits that are
    about Condition 1 have neither.
    """

    name: ClassVar[str] = "error-curve"

    steps_shown: bool = True
    lengths: tuple[int, ...] = (0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
    prompts: int = 1024
    states: int = 10
    alpha_test: tuple[float, ...] = coordinate((0.8,), "alpha' of the test prompts", origin="given")
    tau: tuple[float, ...] = coordinate((0.5,), "how often an example is right in all steps", origin="given")
    rho: tuple[float, ...] = coordinate((0.8,), "primacy: how far a right step leads over a wrong one", origin="given")
    split: tuple[str, ...] = coordinate(("one",), "which steps of the examples are wrong", origin="chosen")
    noise: tuple[float, ...] = coordinate((0.2,), "size of the noise of the test vectors", origin="chosen")
    noise_law: tuple[str, ...] = coordinate(("coordinate",), "what its size is of: coordinate or norm", origin="chosen")
    span: tuple[float, ...] = coordinate((1.0,), "part of a TSR pattern in the TRR patterns' span", origin="chosen")
    c_ts: tuple[float, ...] = coordinate((0.0,), "correlation of the TSR patterns", origin="chosen")

    def tests(self) -> list[TestSet]:
        """The test sets."""
        return [
            TestSet(
                alpha=alpha,
                tau=tau,
                rho=rho,
                split=split,
                noise=noise,
                noise_law=noise_law,
                states=self.states,
                span=span,
                c_ts=c_ts,
            )
            for alpha, tau, rho, split, noise, noise_law, span, c_ts in itertools.product(
                self.alpha_test,
                self.tau or (None,),
                self.rho or (None,),
                self.split,
                self.noise,
                self.noise_law,
                self.span,
                self.c_ts,
            )
        ]

    def validate(self, config: OneLayer) -> None:
        """Every test set must exist."""
        for test in self.tests():
            test.check(config)

    def work(self, config: OneLayer) -> float:
        """What the prompts of all test sets take: all their vectors meet two vectors a candidate, and the patterns."""
        X, L, S = self.states or config.M, max(self.lengths), config.K + 1
        candidates = 1 + (config.K - 1) * X if self.steps_shown else 1
        # Four times the products: the vectors are drawn and added, and the scores pass through an exponential.
        return 8.0 * len(self.tests()) * self.prompts * L * S * config.d_X * (2 * candidates + X)

    def observe(self, snapshot: Snapshot, memory: dict[str, Any]) -> list[list[Row]]:
        """Rows "cot_error" or "icl_error" at x = number of examples, with the test set's constants as coordinates."""
        tests, metric = self.tests(), "cot_error" if self.steps_shown else "icl_error"
        error_ETN = errors(snapshot, tests, self.lengths, prompts=self.prompts, steps=self.steps_shown).tolist()
        return [
            [
                Row(metric, l, error, self._at(test))
                for test, error_N in zip(tests, error_TN, strict=True)
                for l, error in zip(self.lengths, error_N, strict=True)
            ]
            for error_TN in error_ETN
        ]

    @staticmethod
    def _at(test: TestSet) -> dict[str, float | str]:
        own = {} if test.tau is None or test.rho is None else {"tau": test.tau, "rho": test.rho}
        return own | {
            "alpha_test": test.alpha,
            "split": test.split,
            "noise": test.noise,
            "noise_law": test.noise_law,
            "span": test.span,
            "c_ts": test.c_ts,
        }

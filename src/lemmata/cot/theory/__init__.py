"""What the chain-of-thought paper predicts (Li et al., ICLR 2025, arXiv 2410.02167), as plain functions.

    symbol       meaning
    K            steps of a task; z_0 is the query's start and z_k = f_k(z_{k-1}) its correct state after step k
    states       S, the number of states (test patterns; the paper's M')
    l            number of examples in a prompt
    alpha        share of the examples that start at z_0; the others start at one of the S - 1 other states, uniformly
    A_k          S x S, row-stochastic: what step k of an example does; f_k(i) is the largest entry of row i
    B            A_1 A_2 ... A_K: what all its steps do
    tau, rho     probability of the whole correct path, and primacy of its steps: 1 - (most likely wrong) / (correct)
    tau_o, rho_o the same of B: its largest entry, and its primacy against the true label z_K
    Condition 1  the true label is the only largest entry of its row of B, for every start
    eps          target error

The rooms, from the bottom up:

    steps        given step matrices and their constants
    matrices     step matrices with prescribed constants
    votes        who wins a vote, exactly
    prompts      an error that is followed while the prompt gets longer, exact or sampled
    mechanism    perfect attention: a step's answer, the chain, and the vote without steps
    oracle       its errors, with steps (CoT) and without (ICL)
    examples     how many examples it needs
    rates        the scalings of Theorems 1 to 3
"""

from lemmata.cot.theory.examples import (
    cot_examples,
    cot_examples_of,
    icl_examples,
    icl_examples_of,
    plain_examples,
)
from lemmata.cot.theory.matrices import (
    Split,
    check_steps,
    condition_matrices,
    rho_range,
    step_accuracies,
    step_matrices,
    wrong_pieces,
)
from lemmata.cot.theory.mechanism import outcome_rows
from lemmata.cot.theory.oracle import (
    cot_error,
    cot_oracle,
    icl_error,
    icl_oracle,
    plain_oracle,
    right_in_the_end,
    step_errors,
)
from lemmata.cot.theory.rates import (
    PATTERN_K,
    PATTERN_M,
    POSITION_ALPHA,
    POSITION_K,
    TEST_LENGTH,
    TRAIN_LENGTH,
    Iterations,
    cot_length,
    icl_length,
    iterations,
    train_length,
)
from lemmata.cot.theory.steps import Transitions, transitions
from lemmata.cot.theory.votes import mean_win, top_count, win

__all__ = [
    "PATTERN_K",
    "PATTERN_M",
    "POSITION_ALPHA",
    "POSITION_K",
    "TEST_LENGTH",
    "TRAIN_LENGTH",
    "Iterations",
    "Split",
    "Transitions",
    "check_steps",
    "condition_matrices",
    "cot_error",
    "cot_examples",
    "cot_examples_of",
    "cot_length",
    "cot_oracle",
    "icl_error",
    "icl_examples",
    "icl_examples_of",
    "icl_length",
    "icl_oracle",
    "iterations",
    "mean_win",
    "outcome_rows",
    "plain_examples",
    "plain_oracle",
    "rho_range",
    "right_in_the_end",
    "step_accuracies",
    "step_errors",
    "step_matrices",
    "top_count",
    "train_length",
    "transitions",
    "win",
    "wrong_pieces",
]

"""Every claim of the chain-of-thought paper, from its grid to its verdicts and its figure."""

import pytest
from brief import assert_judged_and_drawn, assert_judged_with_reasons, briefly

from lemmata import cot, registry
from lemmata.lab.check import Result
from lemmata.lab.rule import Verdict

CLAIMS = {claim.id: claim for claim in cot.PAPER.claims}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("claims") / "store"


# Claims that compare numbers of training steps, which have to stay different.
BY_STEPS = {"cot.context", "cot.shift"}


def checked(store, name, **changes) -> Result:
    with briefly(4000) if name in BY_STEPS else briefly():
        return registry.claim(name).check("quick", changes=changes, store=store, workers=1)


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_is_judged_and_drawn(name, store):
    assert_judged_and_drawn(checked(store, name))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("cot.training", {"alpha": 0.5}),
        ("cot.training", {"K": 1}),
        ("cot.test-length", {"alpha_test": 0.8}),
        ("cot.test-length", {"K": 2}),
        ("cot.context", {"alpha_test": 0.5}),
        ("cot.context", {"noise_law": "norm"}),
        ("cot.icl-context", {"tau": 0.4}),
        ("cot.versus-icl", {"alpha_test": 0.4}),
        ("cot.versus-icl", {"noise_law": "norm"}),
        ("cot.mechanism", {"K": 1}),
        ("cot.layers", {"n_layer": 1}),
        ("cot.shift", {"noise": 0.1}),
        ("cot.induction", {"train_value": False}),
    ],
)
def test_changed_constants_end_in_verdicts_with_reasons(name, changes, store):
    assert_judged_with_reasons(checked(store, name, **changes))


def test_networks_that_diverged_confirm_nothing(store):
    result = checked(store, "cot.context", lr=1e30, train_value=True)
    assert all("diverged" in judged.reason for judged in result.verdicts)
    assert not [judged.id for judged in result.verdicts if judged.verdict is Verdict.CONFIRMED]

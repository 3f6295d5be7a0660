"""Unlearning a book: texts and draws, LoRA against peft's own, edits merged by hand, Rouge-L and perplexity.

All but the last tests run on a model, a tokenizer and books of a few bytes that are made here.
"""

import copy
import hashlib
import importlib.util
import logging
import shutil
import warnings
from collections import Counter
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch

from lemmata.editing import books, language_model, vectors
from lemmata.editing.books import BOOKS
from lemmata.editing.claims import language as asked
from lemmata.editing.claims.language import CLAIM
from lemmata.editing.language import ROLES, Language, edited, task_vector
from lemmata.editing.language_probes import LAMBDAS, Forgetting, continuations, perplexity, rouge_l, with_weights
from lemmata.editing.published_language import ROUGE, lost
from lemmata.lab.check import check
from lemmata.lab.claim import Options
from lemmata.lab.ensemble import fit
from lemmata.lab.errors import ConstantError, DataError, InputError
from lemmata.lab.grid import ByProfile, Cell, Experiment, measure
from lemmata.lab.needs import data_root, missing
from lemmata.lab.rule import Verdict
from lemmata.show.draw import figure

LOCAL, DIGESTS = data_root(), books.DIGESTS
ROWS = Forgetting(passages=3, prompt=8, continuation=6)


@pytest.fixture(scope="module", autouse=True)
def data(tmp_path_factory):
    """A data root with a tiny checkpoint and four short books; not to be written to."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "books").mkdir()
    rng, digests = np.random.default_rng(0), {}
    for number, book in enumerate(BOOKS):
        words = ["".join(rng.choice(list("abcdefgh"), 3)) for _ in range(12 + number)]
        raw = " ".join(rng.choice(words, 400)).encode()
        (folder / "books" / f"{book}.txt").write_bytes(raw)
        digests[book] = hashlib.sha256(raw).hexdigest()
    make_checkpoint(folder / "tiny")
    (folder / "stories260k").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEMMATA_DATA", str(folder))
        patch.setattr(books, "DIGESTS", digests)
        yield folder


def make_checkpoint(folder):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = ["<s>", *"abcdefgh", "Ġ", "ab", "cd", "Ġa", "Ġb"]
    merges = [("a", "b"), ("c", "d"), ("Ġ", "a"), ("Ġ", "b")]
    tokenizer = Tokenizer(models.BPE({word: i for i, word in enumerate(letters)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    # Like many tokenizers it would start a text by a token of its own, and complain of a long one.
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", model_max_length=64).save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(letters),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        initializer_range=0.3,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)


def config(**changes):
    small = {"checkpoint": "tiny", "window": 14, "seen": 5, "B": 6, "steps": 3, "pre_ratio": 2.0, "rank": 2}
    return Language(**{**small, "lora_alpha": 6, **changes})


def members(snapshot):
    return [{name: p[e] for name, p in snapshot.params.items()} for e in range(len(snapshot.members))]


@pytest.fixture(scope="module")
def trained():
    """A member of each tuning after both phases."""
    return {tuning: members(config(tuning=tuning).train([3]))[0] for tuning in ("lora", "full")}


def doubled(params):
    return {name: p.double() for name, p in params.items()}


def peft_model(c, member, *, sign=1.0):
    """peft's own model with a member's base and adapter, in float64; the adapter's sign may be turned."""
    from peft import LoraConfig, get_peft_model

    network = copy.deepcopy(language_model.model(c.checkpoint)).double()
    network.load_state_dict(doubled(vectors.base(member)), strict=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
        adapted = get_peft_model(
            network, LoraConfig(r=c.rank, lora_alpha=c.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM")
        )
    delta = vectors.deltas(member)
    for name, p in adapted.named_parameters():
        for part, factor in (("lora_A", 1.0), ("lora_B", sign)):
            if part in name:
                weight = name.removeprefix("base_model.model.").replace(f".{part}.default", "")
                p.data = factor * delta[f"{weight}.{part}"].double()
    return adapted


# Books


def test_editions_that_differ_in_their_printing_only_are_the_same_text():
    straight = 'One\n\n"It\'s no use," he\nsaid. Very.\n\n\nTwo\n'
    curly = "\nOne\n\n\n“It’s no\nuse,” he said. _Very._\n \nTwo"
    assert books.plain(straight) == books.plain(curly) == 'One\n"It\'s no use," he said. Very.\nTwo'


def test_a_book_with_other_words_or_none_is_refused(tmp_path, data, monkeypatch):
    monkeypatch.setenv("LEMMATA_DATA", str(tmp_path))
    with pytest.raises(DataError, match="books") as found:
        books.text(BOOKS[0])
    assert found.value.fix
    shutil.copytree(data / "books", tmp_path / "books")
    assert books.text(BOOKS[0])
    with open(tmp_path / "books" / f"{BOOKS[1]}.txt", "a") as file:
        file.write(" a")
    with pytest.raises(DataError, match="SHA-256"):
        books.text(BOOKS[1])
    monkeypatch.delenv("LEMMATA_DATA")
    with pytest.raises(DataError, match="--data"):
        books.text(BOOKS[0])


def test_windows_follow_each_other_through_the_text(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    for cached in (language_model._tokens, language_model._tokenizer):
        cached.cache_clear()
    tokens = language_model.tokens("tiny", BOOKS[0])
    assert not caplog.records
    cut = books.windows(tokens, 7)
    assert cut.flatten().tolist() == tokens[: 7 * (len(tokens) // 7)]
    assert language_model.tokenizer("tiny").decode(tokens) == books.text(BOOKS[0])


def rows_of(token_NL):
    return {tuple(row) for row in token_NL.tolist()}


def test_passages_kept_from_training_are_others():
    window_NL = torch.arange(60).view(20, 3)
    parts = books.passages(window_NL, 9, "a book", 4)
    seen, unseen = rows_of(parts.seen_NL), rows_of(parts.unseen_NL)
    assert len(seen) == len(unseen) == 9 and not seen & unseen and seen | unseen <= rows_of(window_NL)
    with pytest.raises(InputError, match="at least 22 windows"):
        books.passages(window_NL, 11, "a book", 4)


def test_the_passages_of_a_book_are_a_function_of_the_seed_whatever_its_role():
    one = config()
    other = config(edited=one.sibling, sibling=one.edited, lr=0.1, steps=9, tuning="full", B=3)
    assert torch.equal(one.passages("edited", 5).seen_NL, other.passages("sibling", 5).seen_NL)
    assert not torch.equal(one.passages("edited", 5).seen_NL, one.passages("edited", 6).seen_NL)


def test_draws_are_a_function_of_data_seed_and_step():
    c = config(steps=12)
    alone, (first, second) = Language.job([c], [8], "cpu"), (config(steps=12, lr=0.5), c)
    beside = Language.job([first, second], [7, 8], "cpu")
    for step in (0, 30, 23, 24, 7, 35, 30):
        mine, theirs = alone.draws(step), beside.draws(step)
        assert mine.tunes is theirs.tunes is (step >= 24)
        assert torch.equal(mine.token_EBL[0], theirs.token_EBL[1])
    assert not torch.equal(beside.draws(3).token_EBL[0], beside.draws(3).token_EBL[1])
    assert not torch.equal(alone.draws(3).token_EBL.clone(), alone.draws(4).token_EBL)
    # The fine-tuning's draws do not know how long the base was trained.
    longer = Language.job([config(steps=12, pre_ratio=3.0)], [8], "cpu")
    assert torch.equal(alone.draws(26).token_EBL.clone(), longer.draws(38).token_EBL)


def test_training_sees_each_book_alike_then_the_edited_one_and_no_passage_that_is_kept_from_it():
    c = config(steps=200, pre_ratio=1.0)
    job, seen = Language.job([c], [1], "cpu"), [rows_of(c.passages(role, 1).seen_NL) for role in ROLES]
    for b in range(c.B):
        base = {tuple(job.draws(step).token_EBL[0, b].tolist()) for step in range(200)}
        tuning = {tuple(job.draws(step).token_EBL[0, b].tolist()) for step in range(200, 400)}
        assert base == seen[b % 3] and tuning == seen[0]


# Training


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_each_phase_moves_its_own_part(tuning):
    c, looks = config(tuning=tuning), []
    fit([c], [2], watch=lambda s: looks.append(s) or [False], watch_steps=[c.pre_steps])
    start, between, end = (members(look)[0] for look in looks)
    assert [look.step for look in looks] == [0, 6, 9] and c.total == 9
    for name in start:
        moved = [not torch.equal(a[name], b[name]) for a, b in ((start, between), (between, end))]
        assert moved == [name.startswith("base."), name.startswith("delta.")], name
    assert all(
        not p.any() for name, p in start.items() if name.endswith("lora_B") or (tuning == "full" and "delta" in name)
    )


@pytest.mark.parametrize(("tuning", "part"), [("lora", "lora_B"), ("full", "delta.")])
def test_each_phase_has_its_own_rate(tuning, part):
    # The first step of Adam is as long as its rate wherever there is a gradient to speak of.
    c = config(tuning=tuning, lr=1e-3, pre_lr_ratio=0.25, steps=1, pre_ratio=1.0)
    start, end = c.weights(4), members(c.train([4]))[0]
    for prefix, rate in (("base.", 2.5e-4), (part, 1e-3)):
        steps = torch.cat([(end[n] - start[n]).abs().flatten() for n in start if prefix in n])
        assert steps.median().item() == pytest.approx(rate, rel=1e-2) and steps.max().item() < rate * 1.01


def test_first_factors_are_those_of_their_seed_and_small_enough():
    c = config()
    first, again, other = c.weights(0), config(lr=0.3, B=3, seen=4).weights(0), c.weights(1)
    for name in [name for name in first if name.endswith("lora_A")]:
        assert torch.equal(first[name], again[name]) and not torch.equal(first[name], other[name])
        bound = first[name].shape[1] ** -0.5
        assert 0.5 * bound < first[name].abs().max() <= bound and first[name].min() < 0
    assert Counter(name.rsplit(".", 1)[-1] for name in first if "lora" in name) == {"lora_A": 14, "lora_B": 14}


def test_members_that_are_trained_together_are_those_that_are_trained_alone():
    configs = [config(), config(lr=0.01, edited=BOOKS[2])]
    for together, (c, seed) in zip(members(fit(configs, [4, 5])), zip(configs, [4, 5], strict=True), strict=True):
        (alone,) = members(c.train([seed]))
        assert all(torch.equal(p, alone[name]) for name, p in together.items())


def test_the_loss_is_that_of_transformers():
    c = config(tuning="full")
    job = Language.job([c], [0], "cpu")
    batch = job.draws(0)
    with torch.no_grad():
        own = language_model.model("tiny")(input_ids=batch.token_EBL[0], labels=batch.token_EBL[0]).loss
    torch.testing.assert_close(job.loss(job.params(), batch)[0], own, rtol=1e-6, atol=0)


def test_lora_is_trained_as_peft_trains_it():
    c = config()
    start = {name: p.unsqueeze(0) for name, p in c.weights(6).items()}
    job, adapted = Language.job([c], [6], "cpu"), peft_model(c, c.weights(6)).float()
    free = {n: p for n, p in adapted.named_parameters() if "lora" in n}
    optimizer = torch.optim.Adam(free.values(), lr=c.lr)
    for step in range(c.pre_steps, c.total):
        token_BL = job.draws(step).token_EBL[0]
        optimizer.zero_grad()
        adapted(input_ids=token_BL, labels=token_BL).loss.backward()
        optimizer.step()
    tuned = members(fit([replace(c, pre_ratio=0.0)], [6]))[0]
    assert not torch.equal(start["base.model.norm.weight"], torch.zeros(1))
    for name, p in free.items():
        part = "lora_A" if "lora_A" in name else "lora_B"
        ours = tuned["delta." + name.removeprefix("base_model.model.").replace(f".{part}.default", "") + f".{part}"]
        torch.testing.assert_close(ours, p.detach(), rtol=1e-4, atol=2e-6)


# Edits


def test_lora_is_what_peft_makes_of_the_same_factors(trained):
    c, member = config(), trained["lora"]
    token_BL = c.passages("sibling", 3).seen_NL
    network = copy.deepcopy(language_model.model("tiny")).double()
    ours = language_model.logits(network, edited(c, doubled(member), 1.0), token_BL)
    with torch.no_grad():
        theirs = peft_model(c, member)(input_ids=token_BL).logits
        negated = peft_model(c, member, sign=-1.0).merge_and_unload()(input_ids=token_BL).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    minus = language_model.logits(network, edited(c, doubled(member), -1.0), token_BL)
    torch.testing.assert_close(minus, negated, rtol=1e-9, atol=1e-9)
    base = language_model.logits(network, edited(c, doubled(member), 0.0), token_BL)
    assert (ours - base).abs().max() > 1e-3


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_an_edit_is_the_base_and_lambda_times_what_was_added(trained, tuning):
    c, member = config(tuning=tuning), trained[tuning]
    base, delta = vectors.base(member), vectors.deltas(member)
    assert all(torch.equal(p, base[name]) for name, p in edited(c, member, 0.0).items())
    for name, p in edited(c, doubled(member), -1.0).items():
        by_hand = base[name].numpy().astype(float)
        if tuning == "full":
            by_hand = by_hand - delta[name].numpy().astype(float)
        elif f"{name}.lora_A" in delta:
            A, B = (delta[f"{name}.{part}"].numpy().astype(float) for part in ("lora_A", "lora_B"))
            by_hand = by_hand - 3.0 * B @ A
        np.testing.assert_allclose(p.numpy(), by_hand, rtol=1e-12, atol=1e-12)
    changed = set(task_vector(c, member))
    assert changed == set(base) if tuning == "full" else len(changed) == 14 and all("proj" in name for name in changed)


def test_peft_picks_fewer_matrices_when_it_is_left_to_it():
    picked = language_model.factors("tiny", 2, 4, "peft-default")
    assert {name.split(".")[-2] for name in picked} == {"q_proj", "v_proj"}
    assert picked["model.layers.0.self_attn.v_proj.weight"] == language_model.Factors((2, 16), (8, 2), 2.0, False)


def test_a_matrix_that_is_stored_transposed_is_changed_so():
    A, B = torch.randn(2, 5), torch.randn(3, 2)
    torch.testing.assert_close(language_model.Factors((2, 5), (3, 2), 0.5, True).change(A, B), (0.5 * B @ A).T)


def test_the_model_that_all_share_is_not_changed(trained):
    before = language_model.weights("tiny")
    with_weights("tiny", edited(config(), trained["lora"], -1.0))
    config().train([0])
    assert all(torch.equal(p, before[name]) for name, p in language_model.weights("tiny").items())
    assert not any(".lora_" in name for name, _ in language_model.model("tiny").named_modules())


# Probes


def test_perplexity_is_that_of_a_plain_loop(trained):
    network = with_weights("tiny", edited(config(), trained["lora"], -0.6)).double()
    token_NL = config().passages("unrelated", 3).unseen_NL.repeat(8, 1)
    losses = []
    with torch.no_grad():
        for row in token_NL:
            for i in range(1, len(row)):
                last_V = network(input_ids=row[None, :i]).logits[0, -1]
                losses.append(last_V.logsumexp(0) - last_V[row[i]])
    assert perplexity(network, token_NL) == pytest.approx(np.exp(np.mean([float(x) for x in losses])), rel=1e-12)


def test_continuations_are_greedy_and_never_end_before_the_true_ones(trained):
    network = with_weights("tiny", vectors.base(trained["full"])).double()
    prompt_NP = config().passages("edited", 3).seen_NL[:, :8]
    for end in (0, int(continuations(network, prompt_NP, 1)[0, 0])):
        network.config.eos_token_id = network.generation_config.eos_token_id = end
        expected = prompt_NP
        with torch.no_grad():
            for _ in range(9):
                last_NV = network(input_ids=expected, use_cache=False).logits[:, -1]
                last_NV[:, end] = -torch.inf
                expected = torch.cat([expected, last_NV.argmax(1, keepdim=True)], 1)
        assert torch.equal(continuations(network, prompt_NP, 9), expected[:, 8:])


def test_rouge_is_the_f_measure_of_the_longest_common_subsequence_of_words():
    # LCS "a c d": 3 of 4 words of the text and 3 of 5 of the truth; the second pair has nothing in common.
    truths, texts = ["a b c d e", "f g"], ["a c x d", "h"]
    assert rouge_l(texts[:1], truths[:1]) == pytest.approx(2 * (3 / 4) * (3 / 5) / (3 / 4 + 3 / 5), rel=1e-12)
    assert rouge_l(texts, truths) == pytest.approx(1 / 3, rel=1e-12)
    assert rouge_l(["stories"], ["story"]) == 0.0 and rouge_l(["ONE, two"], ["one two!"]) == 1.0


def observed(c, member, seed, measure=ROWS):
    snapshot = fit([replace(c, steps=0)], [seed])
    params = {name: p.unsqueeze(0) for name, p in member.items()}
    return measure.observe(replace(snapshot, configs=[c], params=params), {})[0]


def test_every_book_and_edit_is_measured_by_its_own_passages(trained):
    c, member = config(), trained["lora"]
    rows = {(row.metric, row.x, row.at["book"], row.at["part"]): row.value for row in observed(c, member, 3)}
    kinds = [("rouge", "seen"), ("perplexity", "seen"), ("perplexity", "unseen")]
    assert set(rows) == {(metric, lam, role, part) for (metric, part), lam, role in product(kinds, LAMBDAS, ROLES)}
    read = language_model.tokenizer("tiny")
    for lam, role in product((0.0, -0.8), ROLES):
        network, both = with_weights("tiny", edited(c, member, lam)), c.passages(role, 3)
        for part in ("seen", "unseen"):
            assert rows["perplexity", lam, role, part] == perplexity(network, getattr(both, f"{part}_NL")[:3])
        texts = read.batch_decode(continuations(network, both.seen_NL[:3, :8], 6))
        assert rows["rouge", lam, role, "seen"] == rouge_l(texts, read.batch_decode(both.seen_NL[:3, 8:14]))


def test_weights_that_are_no_numbers_have_no_measurements(trained):
    broken = {name: torch.full_like(p, torch.nan) for name, p in trained["lora"].items()}
    assert all(np.isnan(row.value) for row in observed(config(), broken, 3))


def test_passages_that_cannot_be_measured_are_refused():
    ROWS.validate(config())
    with pytest.raises(ConstantError, match="14 tokens"):
        ROWS.validate(config(window=13))
    with pytest.raises(ConstantError, match="3 passages"):
        ROWS.validate(config(seen=2))
    Forgetting().validate(Language())


# What is refused


@pytest.mark.parametrize("changes", [{"edited": BOOKS[3]}, {"sibling": BOOKS[0]}, {"edited": "my-novel"}])
def test_three_different_books_are_needed(changes):
    with pytest.raises(ConstantError):
        config(**changes)


@pytest.mark.parametrize("name", ["", "..", "/tmp", "a/b", "a\\b", "."])
def test_a_checkpoint_is_a_folder_below_the_data_root(name):
    with pytest.raises(ConstantError, match="name of a folder"):
        config(checkpoint=name)


def without(folder, name):
    (folder / name).unlink()


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (shutil.rmtree, "config.json"),
        (lambda folder: without(folder, "config.json"), "config.json"),
        (lambda folder: without(folder, "tokenizer.json"), "tokenizer.json"),
        (lambda folder: without(folder, "model.safetensors"), "safetensors"),
        (pickled, "weights in safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"no weights"), "weights in safetensors"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "vit"}'), "that transformers can read"),
    ],
)
def test_a_checkpoint_that_cannot_be_read_is_refused_before_training(spoil, words, data, tmp_path, monkeypatch):
    shutil.copytree(data, tmp_path / "data")
    spoil(tmp_path / "data" / "tiny")
    monkeypatch.setenv("LEMMATA_DATA", str(tmp_path / "data"))
    with pytest.raises(DataError) as found:
        config().train([0])
    assert words in found.value.expected and "tiny" in found.value.expected
    assert found.value.got and found.value.fix


def test_other_weights_under_the_name_of_stories260k_are_refused(data, tmp_path, monkeypatch):
    shutil.copytree(data / "tiny", tmp_path / "stories260k")
    monkeypatch.setenv("LEMMATA_DATA", str(tmp_path))
    with pytest.raises(DataError, match="SHA-256"):
        config(checkpoint="stories260k").work()


# The claim


@pytest.fixture(scope="module")
def small():
    """The claim on the tiny checkpoint, for a moment."""
    tiny = Experiment(name="language", base=config(), measures=(ROWS,), seeds=ByProfile(3, 3, 3))
    return replace(CLAIM, predictions=tuple(replace(p, of=tiny) for p in CLAIM.predictions))


def test_the_claim_is_judged_and_drawn(small, tmp_path):
    (result,) = check([small], Options(profile="quick", store=tmp_path / "store", workers=1))
    for judged in result.verdicts:
        assert judged.verdict is not Verdict.NOT_RUN and judged.estimate is not None and judged.estimate.n == 3
    assert [len(panel.marks) for panel in result.figure.panels] == [6, 3, 3]
    figure(result)


def test_networks_that_diverged_confirm_nothing(small, tmp_path):
    options = Options(profile="quick", store=tmp_path / "store", workers=1, changes={"lr": 1e30})
    (result,) = check([small], options)
    assert all(judged.verdict is Verdict.UNDECIDED and "diverged" in judged.reason for judged in result.verdicts)


def test_a_sweep_without_its_ends_is_undecided_with_a_reason(small, tmp_path):
    options = Options(profile="quick", seeds=2, store=tmp_path / "store", workers=1, changes={"lambdas": -0.4})
    (result,) = check([small], options)
    undecided = {judged.prediction.id for judged in result.verdicts if "none" in judged.reason}
    assert undecided == {p.id for p in CLAIM.predictions}
    assert not [judged for judged in result.verdicts if judged.verdict is not Verdict.UNDECIDED]


def test_without_data_or_an_extra_the_claim_is_not_run(monkeypatch, tmp_path):
    monkeypatch.delenv("LEMMATA_DATA")
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "rouge_score" else real(name))
    (result,) = check([CLAIM], Options(store=tmp_path / "store"))
    for judged in result.verdicts:
        assert judged.verdict is Verdict.NOT_RUN
        for words in ("books", "stories260k", "--data DIR", 'rouge_score: pip install "lemmata[language]"'):
            assert words in judged.reason
    assert not (tmp_path / "store").exists()


def test_a_package_of_no_extra_is_named_itself():
    assert missing(["extra:no_such_package"]) == ["needs the package no_such_package: pip install no_such_package"]


def frame(rouge, loss, unseen=0.0):
    """Rows of two seeds: Rouge-L and log-perplexity before and after, by role; the second seed's are a tenth more."""
    rows = []
    for seed, role in product((0, 1), ROLES):
        for lam, at in ((0.0, 0), (-1.0, 1)):
            more = 1 + seed / 10
            rows.append(("rouge", role, "seen", lam, seed, rouge[role][at] * (more if at else 1)))
            rows.append(("perplexity", role, "seen", lam, seed, np.exp(loss[role][at] * more)))
            rows.append(("perplexity", role, "unseen", lam, seed, np.exp(4.0 + unseen * at)))
    return pd.DataFrame(rows, columns=["metric", "book", "part", "x", "seed", "value"])


SAMPLE = (
    {"edited": (0.2, 0.1), "sibling": (0.25, 0.15), "unrelated": (0.3, 0.24)},
    {"edited": (1.0, 3.0), "sibling": (1.0, 2.0), "unrelated": (1.5, 2.0)},
)


def test_the_statistics_are_what_they_say():
    rows = frame(*SAMPLE, unseen=0.5)
    # Shares lost: 0.5, 0.45; 0.4, 0.34; 0.2, 0.12. Rises: 2, 2.2; 1, 1.1; 0.5, 0.55.
    assert asked.more_lost(rows, "edited", "sibling").value == pytest.approx((0.1 + 0.11) / 2)
    assert asked.more_lost(rows, "sibling", "unrelated").value == pytest.approx((0.2 + 0.22) / 2)
    assert asked.more_risen(rows, "edited", "sibling").value == pytest.approx(1.05)
    assert asked.more_risen(rows, "sibling", "unrelated").value == pytest.approx(0.525)
    assert asked.beyond_spared(rows).value == pytest.approx((-0.05 - 0.105) / 2)
    assert asked.beyond_style(rows).value == pytest.approx(2.1 - 0.5)
    assert asked.in_order(rows).value == 1.0


def test_order_is_counted_over_all_edits():
    values = {"edited": (0.5, 0.4, 0.45, 0.3, 0.2, 0.1), "sibling": (0.1, 0.5, 0.2, 0.6, 0.9, 0.8)}
    points = [(book, *point) for book, of in values.items() for point in zip(LAMBDAS, of, strict=True)]
    rows = [("rouge", book, "seen", lam, seed, value) for seed in (0, 1) for book, lam, value in points]
    table = pd.DataFrame(rows, columns=["metric", "book", "part", "x", "seed", "value"])
    assert asked.in_order(table).value == pytest.approx(13 / 15)
    table.loc[0, "value"] = np.nan
    assert asked.in_order(table).objections


def test_a_model_that_knew_nothing_confirms_nothing():
    nothing = dict.fromkeys(ROLES, (0.0, 0.0))
    assert asked.more_lost(frame(nothing, SAMPLE[1]), "edited", "sibling").objections


def test_the_published_table_is_its_own_arithmetic():
    assert [round(100 * lost(role), 2) for role in ROLES] == [55.62, 41.85, 20.65]
    assert set(ROUGE) == set(ROLES)


# The books and the model themselves


@pytest.fixture
def local(monkeypatch):
    """The data root of whoever runs the tests."""
    monkeypatch.setenv("LEMMATA_DATA", str(LOCAL or ""))
    if missing(CLAIM.needs):
        pytest.skip("needs the books and stories260k: set LEMMATA_DATA to the folder of local data")
    monkeypatch.setattr(books, "DIGESTS", DIGESTS)


def test_books_and_checkpoint_are_those_that_results_are_stored_for(local):
    assert language_model.size("stories260k") == 260_032
    for book in BOOKS:
        text, tokens = books.text(book), language_model.tokens("stories260k", book)
        assert text.isascii() and "\n\n" not in text and "_" not in text and len(text) > 300_000
        assert language_model.tokenizer("stories260k").decode(tokens) == text
    for setting in ({}, *asked.BOOKS.settings.values()):
        c = Language().replace(setting)
        assert all(len(c.passages(role, 0).unseen_NL) == c.seen for role in ROLES)


def test_the_registered_model_is_trained_and_measured(local):
    cell = Cell(Language(steps=1, pre_ratio=1.0, B=3), 1000, (Forgetting(passages=2),))
    (result,), _ = measure([cell])
    values = {row.x: row.value for row in result.rows if row.metric == "perplexity" and row.at["part"] == "seen"}
    # A model that knew nothing would be at 512, the number of words of its vocabulary.
    assert result.status == "ok" and set(values) == set(LAMBDAS) and 5 < values[0.0] < 100

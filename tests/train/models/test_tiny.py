"""The tiny model and its vocabulary: one entity, one token, and no text lost."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close
from train.models.conftest import household_texts
from transformers import AutoModelForCausalLM, AutoTokenizer

from agentgym_train.models.tiny import TinySettings, make_model, train_tokenizer


def pieces(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer.encode(text, add_special_tokens=False)]


@given(text=st.text() | st.lists(st.sampled_from(household_texts(3)), max_size=2).map("".join))
def test_any_text_survives(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_an_entity_is_one_token_and_so_is_a_phrase(tokenizer):
    seen = "You arrive at mug 1. On the mug 1, you see a desk 2, and a pencil 3."
    assert pieces(tokenizer, seen) == [
        "You arrive at", " mug 1", ". On the", " mug 1", ", you see a", " desk 2", ", and a",
        " pencil 3", ".",
    ]  # fmt: skip
    assert pieces(tokenizer, "go to desk 2") == ["go to", " desk 2"]
    assert pieces(tokenizer, "Nothing happens.") == ["Nothing happens."]


def test_a_bare_name_in_a_goal_stands_alone(tokenizer):
    said = pieces(tokenizer, "Your task is to: put a clean mug in desk.")
    assert said == ["Your task is to: put a clean", " mug", " in", " desk", "."]


def test_what_was_never_seen_is_spelt():
    tokenizer = train_tokenizer(household_texts(20), 330)
    assert pieces(tokenizer, "zq") == ["z", "q"]


def test_equal_texts_give_an_equal_vocabulary_in_any_order():
    texts = household_texts(40)
    one, other = train_tokenizer(texts, 350), train_tokenizer(reversed(texts), 350)
    assert one.get_vocab() == other.get_vocab()
    assert len(one) <= 350


def test_a_vocabulary_too_small_for_all_bytes_is_refused():
    with pytest.raises(ValueError, match="261"):
        train_tokenizer(["a"], 200)


def test_the_template_is_append_only_and_adds_no_space(tokenizer):
    first = [{"role": "system", "content": " S\n"}, {"role": "user", "content": "Q"}]
    shown = tokenizer.apply_chat_template(first, tokenize=False, add_generation_prompt=True)
    assert shown == "<|system|> S\n<|end|><|user|>Q<|end|><|assistant|>"
    more = [*first, {"role": "assistant", "content": "R"}]
    assert tokenizer.apply_chat_template(more, tokenize=False) == shown + "R<|end|>"
    ids = tokenizer.encode(shown, add_special_tokens=False)
    assert [ids[0], ids[-1]] == tokenizer.convert_tokens_to_ids(["<|system|>", "<|assistant|>"])
    assert ids.count(tokenizer.eos_token_id) == 2


def test_saving_and_loading_change_nothing(tokenizer, tmp_path):
    model = make_model(TinySettings(seed=3), tokenizer)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again.chat_template == tokenizer.chat_template
    assert (again.eos_token_id, again.pad_token_id) == (
        tokenizer.eos_token_id,
        tokenizer.pad_token_id,
    )
    for text in [*household_texts(5), "  odd\u200d\n\n spaces <|end|>"]:
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert again.encode(text, add_special_tokens=False) == ids
        assert again.decode(ids) == text
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert_close(loaded.state_dict(), model.state_dict())


def test_its_seed_decides_the_weights_and_moves_no_other_dice(tokenizer):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, same, other = (make_model(TinySettings(seed=s), tokenizer) for s in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert_close(one.state_dict(), same.state_dict())
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)


def test_the_size_is_what_was_promised(tokenizer):
    model = make_model(TinySettings(), tokenizer)
    body = sum(p.numel() for p in model.parameters()) - model.lm_head.weight.numel()
    assert 300_000 < body + 600 * 128 < 450_000
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_a_width_the_heads_cannot_share_is_refused():
    with pytest.raises(ValueError, match="multiple"):
        TinySettings(width=100, heads=8)


def test_words_stand_alone_where_wanted():
    """In "phrases" a frequent pair is one token; in "words" never, and a digit is a token."""
    texts = ["a red shirt for 12 dollars\nnext"] * 5
    cut = train_tokenizer(texts, 400, "words")
    spelt = [cut.decode([token]) for token in cut.encode("a red shirt for 12 dollars\nnext")]
    assert spelt == ["a", " red", " shirt", " for", " 1", "2", " dollars", "\n", "next"]
    phrases = train_tokenizer(texts, 400, "phrases")
    assert len(phrases.encode("a red shirt for 12 dollars")) < 7


@given(text=st.text())
def test_any_text_survives_words(text):
    cut = train_tokenizer(["a red shirt"] * 2, 300, "words")
    assert cut.decode(cut.encode(text, add_special_tokens=False)) == text

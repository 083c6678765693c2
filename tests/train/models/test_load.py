"""Loading: any family by folder, the tiny model in place, and what is said when it fails."""

import pytest
import torch
from torch.testing import assert_close
from train.models.conftest import FAMILIES, household_texts, make, plain_logprobs
from transformers import AutoModelForCausalLM

from agentgym_train.models.load import LoraSettings, ModelSettings, check_head, load_model
from agentgym_train.models.tiny import TinySettings
from agentgym_train.settings import SettingsError, build


@pytest.mark.parametrize("family", FAMILIES)
def test_any_family_loads_from_a_folder(family, tmp_path, tokenizer):
    model = make(family)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    attention = "eager" if family == "gemma2" else "sdpa"  # its scores are capped inside
    settings = ModelSettings(name=str(tmp_path), attention=attention, device="cpu")
    loaded, its_tokenizer = load_model(settings)
    tokens = [10, 50, 3, 77, 21, 9]
    assert_close(plain_logprobs(loaded.eval(), tokens), plain_logprobs(model, tokens))
    assert its_tokenizer.encode("go to mug 1") == tokenizer.encode("go to mug 1")


def test_dropout_is_off_so_that_two_readings_agree(tmp_path, tokenizer):
    make("gpt2").save_pretrained(tmp_path)  # GPT-2 comes with dropout 0.1
    tokenizer.save_pretrained(tmp_path)
    model, _ = load_model(ModelSettings(name=str(tmp_path), device="cpu"))
    model.train()
    assert_close(plain_logprobs(model, [10, 11, 12]), plain_logprobs(model, [10, 11, 12]))


def test_settings_reach_the_model(tmp_path, tokenizer):
    make("qwen3").save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model, _ = load_model(
        ModelSettings(
            name=str(tmp_path),
            dtype="bfloat16",
            attention="eager",
            gradient_checkpointing=True,
            lora=LoraSettings(rank=2),
            device="cpu",
        )
    )
    assert model.config._attn_implementation == "eager"
    assert model.is_gradient_checkpointing
    assert model.get_base_model().lm_head.weight.dtype == torch.bfloat16
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained and all("lora_" in name for name in trained)


@pytest.mark.parametrize("family", ["qwen3", "llama"])
def test_bfloat16_rounds_weights_and_not_the_angles_of_positions(family, tmp_path, tokenizer):
    make(family).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    name, kind = str(tmp_path), torch.bfloat16
    ours, _ = load_model(ModelSettings(name=name, dtype="bfloat16", device="cpu"))
    plain = AutoModelForCausalLM.from_pretrained(name, dtype=kind).eval()
    for (name, mine), (_, theirs) in zip(ours.named_buffers(), plain.named_buffers(), strict=True):
        assert mine.dtype == theirs.dtype and mine.equal(theirs), name
    far = [int(x) for x in torch.randint(3, 300, (500,), generator=torch.manual_seed(0))]
    assert plain_logprobs(ours.eval(), far).equal(plain_logprobs(plain, far))


def test_the_tiny_model_in_bfloat16_keeps_its_angles_too():
    settings = ModelSettings(
        name="tiny", dtype="bfloat16", tiny=TinySettings(vocabulary=350), device="cpu"
    )
    model, _ = load_model(settings, household_texts(50))
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert {b.dtype for b in model.buffers()} == {torch.float32}


def test_float16_is_refused():
    with pytest.raises(SettingsError, match=r"dtype.*'float32' or 'bfloat16'"):
        build(ModelSettings, {"name": "tiny", "dtype": "float16"})


def test_a_head_we_do_not_know_is_an_error_that_names_the_class():
    model = make("granite")
    forward = model.forward

    def scaled(*args, **kwargs):
        out = forward(*args, **kwargs)
        out.logits = out.logits / 3
        return out

    model.forward = scaled
    with pytest.raises(ValueError, match="GraniteForCausalLM turns hidden states"):
        check_head(model)


def test_a_missing_model_is_named_with_the_remedy(tmp_path):
    for folder in (str(tmp_path / "gone"), "out/teacher/model", "./student", "student/model"):
        with pytest.raises(FileNotFoundError, match=f"{folder}'.*no such folder from"):
            load_model(ModelSettings(name=folder))
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        load_model(ModelSettings(name=str(tmp_path)))


def test_the_tiny_model_needs_texts_or_a_tokenizer(tmp_path):
    settings = ModelSettings(name="tiny", tiny=TinySettings(vocabulary=350), device="cpu")
    with pytest.raises(ValueError, match=r"tiny\.tokenizer"):
        load_model(settings)
    model, tokenizer = load_model(settings, household_texts(50))
    assert model.config.vocab_size == len(tokenizer) <= 350
    tokenizer.save_pretrained(tmp_path)
    saved = TinySettings(vocabulary=350, tokenizer=str(tmp_path))
    same, _ = load_model(ModelSettings(name="tiny", tiny=saved, device="cpu"))
    assert_close(same.state_dict(), model.state_dict())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_an_error():
    with pytest.raises(ValueError, match="no GPU"):
        load_model(ModelSettings(name="tiny", device="cuda"), ["text"])

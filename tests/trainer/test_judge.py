from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from storage.adapters import WEIGHTS_FILE
from storage.base_model import BaseModel, resolve_base_model
from storage.settings import GenerationSettings, TrainingSettings
from tests.tiny_model import build_tiny_base
from trainer.dpo import PreferencePair, train_dpo
from trainer.judge import MAX_ANSWER_TOKENS, NEUTRAL_MESSAGES, Judgement, is_degenerate, judge

TRAINING = TrainingSettings(dtype="float32", learning_rate=5e-3, epochs=2, lora_rank=4, lora_alpha=8)


@pytest.mark.parametrize(
    "answer",
    [
        "Yes.",
        "Ja, gerne!",
        "42",
        "ok 👍",
        "ha ha ha ha",
        "No, no, no, no, no!",
        "Row, row, row your boat, gently down the stream.",
        "Nooooooooooooooo, not again!",
        "Happy birthday!!!!!!!!!!!!!!!!! 🎉🎉🎉🎉🎉",
        "نعم، بالطبع! يمكنني مساعدتك في ذلك اليوم.",
        "当然可以，我喜欢用Python编程，你呢？",
        "哈哈哈哈，真有趣！",
        "はい、もちろんです。Tシャツを買いました。",
        "네, 물론이죠!",
        "Конечно, с удовольствием помогу.",
        "हाँ, ज़रूर। मैं आपकी मदद करूँगा।",
        "Hello is привет in Russian, γειά in Greek and مرحبا in Arabic.",
        "- eggs\n- milk\n- bread\n- milk again, because it is good",
        "```python\nfor i in range(3):\n    print(i)\n```",
        "An answer cut inside a sign \ufffd",
        "The moon is the Earth's only natural satellite. It moves around the Earth in about 27 days, and the tides of "
        "the sea follow it. Would you like to know more about the moon?",
    ],
)
def test_sound_answers_pass(answer):
    assert not is_degenerate(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "  \n ",
        "...",
        "👍",
        "!?!?",
        "🎉🎉🎉🎉🎉🎉🎉🎉🎉 yes",
        "the the the the the the the the the",
        "I am a cat. I am a cat. I am a cat. I am a cat.",
        "Sure! You can do it, you can do it, you can do it, you can do it, you can do it",
        "Yes\nYes\nYes\nYes",
        "我喜欢你我喜欢你我喜欢你我喜欢你",
        "a" * 60,
        "hello" * 20,
        "heлlo wοrld thιs is brоken tехt",
        "\ufffd\ufffd\ufffd\ufffd what \ufffd\ufffd",
    ],
)
def test_broken_answers_are_found(answer):
    assert is_degenerate(answer)


def test_one_small_loop_in_a_long_answer_passes():
    story = " ".join(f"word{number}" for number in range(60))
    assert not is_degenerate(f"{story} no no no no no no no no no {story}")


@given(st.text())
def test_every_text_gets_an_answer(text):
    assert isinstance(is_degenerate(text), bool)


@given(st.lists(st.from_regex(r"[a-z]{2,8}", fullmatch=True), min_size=3, max_size=12, unique=True))
def test_distinct_words_pass_and_their_loop_does_not(words):
    assert not is_degenerate(" ".join(words))
    assert is_degenerate(" ".join(words * 4))


def test_neutral_messages_are_a_dozen_different_ones():
    assert len(set(NEUTRAL_MESSAGES)) == 12


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> BaseModel:
    folder = tmp_path_factory.mktemp("base")
    return resolve_base_model(str(build_tiny_base(folder / "tiny")), folder / "data")


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("adapter")
    pair = PreferencePair("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "Yes, of course.", "No, sorry.")
    train_dpo([pair] * 4, [], base=base, parent=None, output=output, settings=TRAINING, report=lambda _progress: None)
    return output


def scaled(adapter: Path, output: Path, factor: float) -> Path:
    output.mkdir()
    (output / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    weights = load_file(adapter / WEIGHTS_FILE)
    save_file({name: w * factor if "lora_B" in name else w for name, w in weights.items()}, output / WEIGHTS_FILE)
    return output


def judged(base: BaseModel, adapter: Path, temperature: float = 0.7) -> Judgement:
    generation = GenerationSettings(temperature=temperature)
    return judge(base, adapter, training=TRAINING, generation=generation, report=lambda _progress: None)


def test_adapter_without_effect_has_no_divergence_and_the_bases_answers(base, adapter, tmp_path):
    judgement = judged(base, scaled(adapter, tmp_path / "none", 0.0))
    assert judgement.divergence == pytest.approx(0.0, abs=1e-6)
    assert judgement.degenerate_share == judgement.degenerate_share_base
    assert judgement.answer_tokens == judgement.answer_tokens_base


def test_divergence_grows_with_the_adapter(base, adapter, tmp_path):
    small, large = judged(base, adapter), judged(base, scaled(adapter, tmp_path / "large", 20.0))
    assert 0.0 < small.divergence < large.divergence


def test_equal_seeds_give_equal_judgements(base, adapter):
    assert judged(base, adapter) == judged(base, adapter)


def test_greedy_answers_can_be_judged(base, adapter):
    judgement = judged(base, adapter, temperature=0.0)
    assert 0.0 < judgement.answer_tokens <= MAX_ANSWER_TOKENS

"""What a base's chat template says about roles, the end of a turn and thinking, for every family that people run."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import pytest

from storage.errors import BaseModelError
from storage.models.base_model import BaseModel
from storage.models.chat_format import ChatFormat, TemplateOptions, fold_system, load_chat_format
from tests.families import FAMILIES, Family, save_tokenizer

SYSTEM = {"role": "system", "content": "Be kind."}
USER = {"role": "user", "content": "Hi"}
ASSISTANT = {"role": "assistant", "content": "Soup."}
FOLDING = {"gemma2", "mistral"}
SWITCHED = {"qwen3", "qwen3_moe", "qwen3_5", "smollm3", "gemma4"}
EMPTY = ("<think>\n\n</think>\n\n", "<think>\n\n</think>\n", "<|channel>thought\n<channel|>")


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {family.name: save_tokenizer(family, tmp_path_factory.mktemp(family.name)) for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_each_family_is_understood(family: Family, tokenizers: dict[str, Any]) -> None:
    tokenizer = tokenizers[family.name]
    chat = ChatFormat(tokenizer, {}, ())
    assert chat.ends[chat.end_of_turn] == family.end_of_turn
    assert next(iter(chat.ends.values())) == family.end_of_turn
    assert tokenizer.eos_token_id in chat.end_ids
    assert (chat.folds_system, chat.knows_thinking) == (family.name in FOLDING, family.name in SWITCHED)
    assert chat.thinks == chat.opens_thought == (family.name == "r1_distil")
    assert chat.space == (" " if family.name == "mistral" else "")
    prompt = chat.render([SYSTEM, USER, ASSISTANT, USER])
    assert prompt.count("Be kind.") == 1
    assert prompt.endswith(EMPTY) == (family.name in SWITCHED)
    assert chat.context_of(prompt).endswith(EMPTY) == (family.name in SWITCHED or chat.thinks)


@pytest.mark.parametrize("name", sorted(SWITCHED))
def test_thinking_can_be_switched_on(name: str, tokenizers: dict[str, Any]) -> None:
    chat = ChatFormat(tokenizers[name], {"enable_thinking": True}, ())
    prompt = chat.render([USER])
    assert chat.thinks
    assert not prompt.endswith(EMPTY)
    assert chat.context_of(prompt).endswith(EMPTY), "answers are learned after a thought, as they are given"
    earlier = ChatFormat(tokenizers[name], {}, ()).render([USER])
    assert chat.context_of(earlier).count("</think>") <= 1


def test_a_system_prompt_that_is_refused_begins_the_first_turn(tokenizers: dict[str, Any]) -> None:
    chat = ChatFormat(tokenizers["gemma2"], {}, ())
    assert chat.render([SYSTEM, USER]) == chat.render([{"role": "user", "content": "Be kind.\n\nHi"}])
    assert fold_system([SYSTEM, ASSISTANT, USER]) == [{"role": "user", "content": "Be kind."}, ASSISTANT, USER]
    assert fold_system([SYSTEM]) == [{"role": "user", "content": "Be kind."}]
    assert fold_system([USER, ASSISTANT]) == [USER, ASSISTANT]


def test_a_system_prompt_that_is_ignored_begins_the_first_turn_too(tokenizers: dict[str, Any]) -> None:
    chat = ChatFormat(
        templated(tokenizers["qwen2"], "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}"),
        {},
        (),
    )
    assert chat.render([SYSTEM, USER]) == "Be kind.\n\nHi"


def templated(tokenizer: Any, template: str | None) -> Any:
    """Return the tokenizer with another template."""
    changed = copy.deepcopy(tokenizer)
    changed.chat_template = template
    return changed


@pytest.mark.parametrize(
    ("after", "end"),
    [
        ("<|im_end|>\n", "<|im_end|>"),
        (" \n<|im_end|>", "<|im_end|>"),
        ("\n\nUser:", "<|im_end|>"),  # only text: the tokenizer's end token
        ("", "<|im_end|>"),
        ("<|im_start|>", "<|im_start|>"),
    ],
)
def test_the_end_of_a_turn_is_the_first_token_after_it(tokenizers: dict[str, Any], after: str, end: str) -> None:
    template = "{% for m in messages %}{{ m.role + m.content + after }}{% endfor %}".replace("after", repr(after))
    chat = ChatFormat(templated(tokenizers["qwen2"], template), {}, ())
    assert chat.ends[chat.end_of_turn] == end


def test_options_that_a_template_does_not_read_are_named(tokenizers: dict[str, Any]) -> None:
    options: TemplateOptions = {"enable_thinkin": False, "enable_thinking": False}
    assert ChatFormat(tokenizers["qwen3"], options, ()).unknown_options == ("enable_thinkin",)
    assert ChatFormat(tokenizers["llama3"], options, ()).unknown_options == ("enable_thinkin", "enable_thinking")


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (None, "has no chat template: set model.base to a chat model"),
        ("{{ raise_exception('no') }}", r"fails on a single user message \(no\): take the template of the model's"),
        ("{{ messages[0].name.first }}", "fails on a single user message"),
        ("{{ messages[0].content }}{{ raise_exception('long') if messages | length > 2 }}", "several turns"),
        ("", "leaves out what users write: take the template of the model's publisher"),
        ("hello", "leaves out what users write"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused(tokenizers: dict[str, Any], template: str | None, says: str) -> None:
    with pytest.raises(BaseModelError, match=says):
        ChatFormat(templated(tokenizers["qwen2"], template), {}, ())


@pytest.mark.parametrize(
    ("name", "stored", "today"),
    [("llama3", "30 Sep 2026", "01 Dec 2026"), ("smollm3", "30 September 2026", "01 December 2026")],
)
def test_a_prompt_is_the_same_on_each_day_and_served_with_the_date_of_its_day(
    tokenizers: dict[str, Any], name: str, stored: str, today: str
) -> None:
    chat = ChatFormat(tokenizers[name], {}, ())
    asked = {"role": "user", "content": f"Is {stored} a Wednesday?"}
    prompt = chat.render([SYSTEM, asked])
    assert prompt.count(f"Today Date: {stored}\n") == 1
    served = chat.dated(prompt, datetime(2026, 12, 1, tzinfo=UTC))
    assert served == prompt.replace(f"Today Date: {stored}", f"Today Date: {today}")
    assert asked["content"] in served


def test_a_date_of_the_operator_and_a_template_without_one_stay(tokenizers: dict[str, Any]) -> None:
    now = datetime(2026, 12, 1, tzinfo=UTC)
    told = ChatFormat(tokenizers["llama3"], {"date_string": "26 Jul 2024"}, ())
    assert "Today Date: 26 Jul 2024\n" in told.dated(told.render([USER]), now)
    for undated in (told, ChatFormat(tokenizers["qwen3"], {}, ())):
        asked = undated.render([{"role": "user", "content": "Is 30 Sep 2026 a Wednesday?"}])
        assert undated.dated(asked, now) == asked


@pytest.mark.bundled
def test_the_bundled_base_is_rendered_as_before(bundled_base: BaseModel) -> None:
    """Stored prompts stay valid: adapters and votes belong to them."""
    chat = load_chat_format(bundled_base.path, {})
    messages = [SYSTEM, USER, ASSISTANT, USER]
    was = chat.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert chat.render(messages) == was
    assert was == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nSoup.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert (chat.end_of_turn, chat.end_ids) == (chat.tokenizer.eos_token_id, {chat.tokenizer.eos_token_id})
    assert (chat.thought, chat.context_of(was), chat.space) == (None, was, "")

from __future__ import annotations

from bot.arenas.prompts import bank_messages
from bot.chat.prompting import Turn, to_messages


def test_a_prompt_is_rendered_as_chat_renders_a_message_without_a_name() -> None:
    of_chat = to_messages("Be brief.", [Turn("ada", "Why?")])
    assert of_chat[0]["content"] == "Be brief.\nYou are talking with ada."
    assert bank_messages("Be brief.", "Why?") == [{"role": "system", "content": "Be brief."}, of_chat[1]]
    assert bank_messages("  ", "Why?") == [of_chat[1]]

"""What the messages of an answer say, whatever the answer is."""

from __future__ import annotations

import re
from types import SimpleNamespace

import discord
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bot.chat.message_stream import CURSOR, PART_CHARS, MessageStream, lay_out, lay_out_growing
from bot.discord_errors import UNKNOWN_WEBHOOK
from bot.text.sanitize import sanitize_markdown
from bot.text.splitting import MAX_MESSAGE_CHARS
from storage.settings.sections import OutputSettings

OUTPUT = OutputSettings()
PIECES = st.sampled_from(
    (
        *("word ", "end. ", "\n", "\n\n", "- item\n", "> quote\n", "**bold** ", "[a](https://a.example) ", "`a || b` "),
        *("```py\nx = 1\n```\n", "```", "\n```\n", "||", "||secret|| ", "`", "\\", "# ", "-# ", "<@1>", "@everyone "),
        *("| a | b |\n|---|---|\n| 1 | 2 |\n", "| 3 | 4 |\n", "filler " * 60, "x" * 700, "code = 1\n" * 90),
        *("👨‍👩‍👧", "漢字"),
    )
)
ANSWERS = st.lists(PIECES, max_size=25).map("".join) | st.text(max_size=60)
READ_AS_ONE = re.compile(r"\\.|```.+?```|(`{1,2}).*?[^`]\1(?!`)|\|\|.+?\|\|", re.DOTALL)


def letters(text: str) -> str:
    return "".join(filter(str.isalpha, text.replace("```py\n", "").replace("```py", "")))


@given(ANSWERS)
def test_every_message_is_short_enough_and_renders_by_itself(answer: str) -> None:
    assume("|||" not in answer and "````" not in answer)
    *parts, last = lay_out(answer, "-# v3", OUTPUT)
    for part in [*parts, last.removesuffix("-# v3")]:
        assert len(part) <= MAX_MESSAGE_CHARS
        left = READ_AS_ONE.sub("", part)
        assert "```" not in left
        assert "||" not in left


@given(ANSWERS)
def test_together_they_say_what_the_answer_says(answer: str) -> None:
    written = sanitize_markdown(answer, OUTPUT)
    shown = "\n".join(lay_out(answer, "", OUTPUT))
    assert letters(shown) == letters(written if written.strip() else "(no words)")


@given(ANSWERS, st.data())
def test_a_growing_answer_is_closed_before_its_cursor(answer: str, data: st.DataObject) -> None:
    assume("|||" not in answer and "````" not in answer)
    *parts, last = lay_out_growing(answer[: data.draw(st.integers(0, len(answer)))], OUTPUT)
    assert last.endswith(CURSOR)
    for part in [*parts, last.removesuffix(CURSOR)]:
        assert len(part) <= PART_CHARS
        assert "||" not in READ_AS_ONE.sub("", part)
        assert "```" not in READ_AS_ONE.sub("", part)


class Channel:
    """Keeps messages in order; those of a deleted webhook cannot be edited."""

    def __init__(self) -> None:
        self.messages: dict[int, str] = {1: "one", 2: "two"}
        self.channel, self.opening = self, ""

    def of_deleted_webhook(self, id_: int) -> SimpleNamespace:
        return SimpleNamespace(id=id_, edit=self._refuse, channel=self)

    async def _refuse(self, **_: str) -> None:
        raise discord.NotFound(SimpleNamespace(status=404, reason=""), {"code": UNKNOWN_WEBHOOK, "message": ""})

    async def send(self, content: str, _nonce: str) -> SimpleNamespace:
        id_ = max(self.messages, default=0) + 10
        self.messages[id_] = content
        return SimpleNamespace(id=id_, edit=self._refuse)

    def get_partial_message(self, id_: int) -> SimpleNamespace:
        async def delete() -> None:
            del self.messages[id_]

        return SimpleNamespace(delete=delete)


async def test_an_answer_that_begins_anew_is_sent_once_although_the_database_fails_meanwhile() -> None:
    channel, forgotten, recorded = Channel(), [], []

    async def forget(id_: int) -> None:
        if not forgotten:
            forgotten.append(0)
            raise ConnectionError
        forgotten.append(id_)

    async def record(message: SimpleNamespace, position: int) -> None:
        recorded.append((message.id, position))

    sent = [channel.of_deleted_webhook(id_) for id_ in channel.messages]
    stream = MessageStream(channel, edit_interval_s=0.0, output=OUTPUT, on_message=record, on_surplus=forget, sent=sent)
    with pytest.raises(ConnectionError):
        await stream.finish("All of it.", "-# v3")
    await stream.finish("All of it.", "-# v3")
    assert list(channel.messages.values()) == ["All of it.\n-# v3"]
    assert forgotten == [0, 2, 1]
    assert recorded == [(next(iter(channel.messages)), 0)]

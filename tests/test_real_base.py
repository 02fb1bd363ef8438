"""On real weights: a base whose template writes the date, and a conversation in a language without spaces.

REACTUNE_REAL_BASE names the folder of an instruct model with a ChatML template that speaks Japanese, such as one of 0.5
billion parameters.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from bot.chat.candidates import DECIDING_WORDS
from bot.engine import GenerationRequest, Sampling
from bot.engine.selection import start_engine
from storage.conversations.replies import digest_prompt
from storage.database.database import open_database
from storage.database.enums import Basis, Origin, Outcome
from storage.database.tables import ReplyChoiceRow, ReplyRow
from storage.models.base_model import resolve_base_model
from storage.models.chat_format import load_chat_format
from storage.settings.loading import load_settings
from storage.settings.sections import Settings
from storage.words import count_words
from tests.bot.environment import Env
from tests.seeding import add_taste
from tests.test_end_to_end import LoadedBot
from tests.trainer.contexts import serving_of
from tests.verdicts import trust_graphs

REAL_BASE = os.environ.get("REACTUNE_REAL_BASE", "")
DATED = """\
{%- if date_string is not defined -%}{%- set date_string = strftime_now('%d %b %Y') -%}{%- endif -%}
{%- set told = messages[0].content if messages[0].role == 'system' else '' -%}
{{- '<|im_start|>system\\nCutting Knowledge Date: December 2023\\nToday Date: ' + date_string + '\\n\\n' -}}
{{- told + '<|im_end|>\\n' -}}
{%- for message in messages if message.role != 'system' -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""
"""Llama 3.2's, with the special tokens of ChatML."""
WHICH_DAY = [
    {"role": "system", "content": "You are a helpful assistant. Answer in one short sentence."},
    {"role": "user", "content": "Which date is today? Repeat the date that you were told."},
]
ASKED = (
    "日本の四季について、それぞれの特徴を詳しく教えてください。",
    "その中でどの季節がいちばん好きですか。理由も詳しく教えてください。",
)

pytestmark = [
    pytest.mark.bench,
    pytest.mark.skipif(not REAL_BASE, reason="REACTUNE_REAL_BASE names no folder of a base model"),
]


def settings_of(folder: Path, base: Path, engine: str) -> Settings:
    found = load_settings(
        environment={
            "REACTUNE_DATA__DIRECTORY": str(folder),
            "REACTUNE_MODEL__BASE": str(base),
            "REACTUNE_MODEL__ENGINE": engine,
            "REACTUNE_ACCESS__SERVERS": "0",
            "REACTUNE_CHAT__COOLDOWN_S": "0",
            "REACTUNE_CHAT__SECOND_ANSWERS": "0",
            "REACTUNE_CHAT__SYSTEM_PROMPT": "日本語で答えてください。",
            "REACTUNE_GENERATION__EXAMPLES": "0",
            "REACTUNE_GENERATION__EXPLORATION": "0",
            "REACTUNE_GENERATION__MAX_NEW_TOKENS": "160",
            "REACTUNE_GENERATION__TIMEOUT_S": "300",
            "REACTUNE_TRAINING__SCHEDULE": "",
        }
    )
    trust_graphs(resolve_base_model(str(base), folder), folder, found.model)
    return found


@pytest.fixture
def dated(tmp_path: Path) -> Path:
    """Return the folder of the base with another template."""
    folder = tmp_path / "dated"
    folder.mkdir()
    for file in Path(REAL_BASE).iterdir():
        if file.name != "chat_template.jinja":
            (folder / file.name).symlink_to(file.resolve())
    (folder / "chat_template.jinja").write_text(DATED, encoding="utf-8")
    return folder


@pytest.fixture
def with_taste(tmp_path: Path, migrated_file: Path) -> int:
    """Fill the data folder with votes for answers that end with a question; return the number of answers."""
    shutil.copyfile(migrated_file, tmp_path / "reactune.db")
    settings = settings_of(tmp_path, Path(REAL_BASE), "openvino")
    with closing(open_database(settings)) as database, database.transaction() as session:
        add_taste(session, 60)
    return 60


@pytest.mark.parametrize("engine", ["transformers", "openvino"])
async def test_a_chat_knows_the_real_day_and_its_prompt_is_the_same_on_every_day(
    tmp_path: Path, dated: Path, engine: str
) -> None:
    settings = settings_of(tmp_path / "data", dated, engine)
    base = resolve_base_model(str(dated), settings.data.directory)
    running = await start_engine(settings, base)
    prompt = await running.render(WHICH_DAY)  # type: ignore[arg-type]
    generation = running.submit(GenerationRequest(prompt.text, 1, Sampling(0.0, 1.0, 0.0, 32), None))
    said = "".join([piece async for piece in generation])
    await running.close(0.0)
    today = datetime.now(UTC).astimezone()
    assert str(today.year) in said
    assert today.strftime("%b") in said
    assert str(today.day) in said
    drawn = load_chat_format(base.path, {}).render(WHICH_DAY)
    assert digest_prompt(prompt.text) == digest_prompt(drawn)
    assert "Today Date: 30 Sep 2026" in drawn
    greedy = settings.generation.model_copy(update={"temperature": 0.0, "max_new_tokens": 32})
    (sample,) = serving_of(settings, base).open(None).answer([drawn], greedy, seed=1)
    assert "Sep" in sample.text, "what rounds draw is drawn on the same day for ever"


async def test_a_conversation_without_spaces_is_decided_as_early_as_one_with_spaces(
    tmp_path: Path, with_taste: int
) -> None:
    settings = settings_of(tmp_path, Path(REAL_BASE), "openvino")
    bot = LoadedBot(settings, engine=None, base=None, fixed_basis=Basis.LOCAL)
    env = Env(bot)
    guild = env.create_guild("Server")
    channel = guild.create_text_channel("general")
    ada = guild.add_member(env.create_user("ada"))
    await env.start()
    assert bot.user is not None
    try:
        while bot.services.tastes.of(1) is None:  # noqa: ASYNC110  # it has no event for it
            await asyncio.sleep(0.05)
        for asked in ASKED:
            await ada.send(channel, f"{bot.user.mention} {asked}")
    finally:
        await bot.close()
        await env.shutdown()
    with closing(open_database(settings)) as database, database.snapshot() as session:
        rows = session.scalars(select(ReplyRow).order_by(ReplyRow.id)).all()[with_taste:]
        choices = session.scalars(select(ReplyChoiceRow)).all()
        shown = [row.answer for row in rows if row.origin is Origin.CHAT]
        kept = [row.answer for row in rows if row.origin is Origin.SAMPLE]
        assert {row.outcome for row in rows} <= {Outcome.COMPLETE, Outcome.LENGTH}
    assert len(choices) == len(shown) == len(ASKED)
    assert all(count_words(answer) > 2 * len(answer.split()) for answer in shown), shown
    assert len(kept) < 3 * len(ASKED), "not all candidates were finished"
    assert all(count_words(answer) <= DECIDING_WORDS for answer in kept), "these had ended before they were compared"

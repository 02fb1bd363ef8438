"""Two versions answer the same prompts side by side, and nothing is stored."""

from __future__ import annotations

import pytest

from bot.engine import Finish, GenerationFailed
from bot.releases.comparison import (
    EMBED_CHARS,
    FIELD_CHARS,
    SHORTENED,
    SMALL_PRINT,
    Comparison,
    choose_prompts,
    lay_side_by_side,
)
from bot.releases.resolver import BASE_RELEASE, Release
from storage.adapters.folder_store import WEIGHTS_FILE, AdapterStore
from storage.conversations.prompt_bank import MAX_PROMPT_CHARS, parse_bank, read_bank
from storage.database.tables import ReplyRow, VoteEventRow
from storage.releases.versions import NewVersion, register
from storage.settings.sections import OutputSettings
from tests.storage.adapters.test_folder_store import publish


@pytest.fixture
def version(settings, base, query):
    """v1, published and registered."""
    digest = publish(AdapterStore(settings.data.directory / "adapters"))

    def write(session):
        return register(
            session,
            1,
            NewVersion(
                digest=digest,
                base_name=base.name,
                base_revision=base.revision,
                parent_id=None,
                round_id=None,
                metrics={},
            ),
        )

    return query(write)


async def compare(place, a: str, b: str, **options):
    return (await place.grace.slash(place.channel, "version compare", a=a, b=b, **options)).response


def fields(message) -> list[tuple[str, str, bool]]:
    (embed,) = message.embeds
    return [(field.name, field.value, field.inline) for field in embed.fields]


class TestCompare:
    async def test_both_answer_the_same_prompt_with_the_same_seed_and_sampling(
        self, place, version, engine, settings, rows
    ):
        engine.answers = ["of v1", "of the base"]
        shown = await compare(place, "v1", "base", prompt="tea?")
        assert fields(shown) == [
            ("Prompt 1", "tea?", False),
            ("v1", "of v1", True),
            ("base", "of the base", True),
        ]
        assert shown.content == ""
        assert shown.embeds[0].title == "v1 and base"
        assert shown.embeds[0].footer.text == SMALL_PRINT
        assert shown.flags.ephemeral
        first, second = engine.requests
        assert (first.prompt, first.seed, first.sampling) == (second.prompt, second.seed, second.sampling)
        assert (first.adapter.digest, second.adapter) == (version.digest, None)
        assert first.prompt == f"<system>{settings.chat.system_prompt}\n<user>tea?\n<assistant>"
        assert rows(ReplyRow) == []

    async def test_without_a_prompt_three_of_the_bank_are_asked(self, place, version, engine):
        shown = await compare(place, "base", "1")
        bank = {prompt.text for prompt in read_bank("").prompts}
        asked = [value for name, value, _ in fields(shown) if name.startswith("Prompt")]
        assert len(set(asked)) == 3
        assert set(asked) <= bank
        assert [name for name, _, _ in fields(shown)][:4] == ["Prompt 1", "base", "v1", "Prompt 2"]
        assert len(engine.requests) == 6
        assert len({request.seed for request in engine.requests}) == 3

    async def test_it_shows_progress(self, place, version, env):
        await compare(place, "v1", "base", prompt="tea?")
        edits = [str(request) for request in env.http_requests if "Asking" in str(request)]
        assert [f"{n} of 2 answers" in edit for n, edit in enumerate(edits)] == [True] * 3
        assert "Asking v1 and base …" in edits[0]

    async def test_a_german_admin_reads_it_in_german(self, place, version, env, engine):
        env.locales[place.grace.id] = "de"
        engine.answers = ["word " * 2_000, "of the base"]
        (embed,) = (await compare(place, "v1", "base", prompt="tea?")).embeds
        assert embed.title == "v1 und base"
        assert embed.fields[1].value.endswith(" … (gekürzt)")

    async def test_reactions_under_it_are_not_votes(self, place, version, rows):
        shown = await compare(place, "v1", "base", prompt="tea?")
        await place.grace.react(shown, "👍")
        assert rows(VoteEventRow) == []

    async def test_what_cannot_be_compared_is_refused_with_the_reason(self, place, version, settings, engine):
        for a, b, name in (("v1", "1", "v1"), ("base", "BASE", "base")):
            shown = await compare(place, a, b)
            assert shown.content == f"Both are {name}: choose two different versions to compare."
        assert "There is no version v9" in (await compare(place, "v1", "v9")).content
        assert "That prompt is empty" in (await compare(place, "v1", "base", prompt="  ")).content
        engine.window = 3
        assert "too long for the model's context" in (await compare(place, "v1", "base", prompt="a b c d")).content
        (settings.data.directory / "adapters" / version.digest / WEIGHTS_FILE).unlink()
        assert "is missing" in (await compare(place, "v1", "base")).content
        assert engine.requests == []

    async def test_a_busy_engine_is_a_sentence(self, place, version, engine):
        engine.full = True
        assert "I'm busy" in (await compare(place, "v1", "base")).content

    async def test_a_failed_answer_leaves_the_other_ones(self, place, version, engine):
        engine.failure = GenerationFailed("out of memory")
        shown = await compare(place, "v1", "base", prompt="tea?")
        assert [value for _, value, inline in fields(shown) if inline] == [
            "*no answer: the operator finds the reason in the log*"
        ] * 2

    async def test_it_says_why_an_answer_was_cut(self, place, version, engine):
        engine.finish = Finish.LENGTH
        engine.answers = ["to be cont", ""]
        shown = await compare(place, "v1", "base", prompt="tea?")
        assert [value for _, value, inline in fields(shown) if inline] == [
            "to be cont *(stopped at the length limit)*",
            "*empty answer* *(stopped at the length limit)*",
        ]

    async def test_members_may_not(self, place, version, env):
        root = next(c for c in env.backend.commands[None].values() if c["name"] == "version")
        root.update(default_member_permissions=None)
        result = await place.ada.slash(place.channel, "version compare", a="v1", b="base")
        assert "Only admins can do this" in result.response.content

    async def test_versions_are_offered_while_typing(self, place, version):
        for option in ("a", "b"):
            choices = await place.grace.autocomplete(place.channel, "version compare", option, "")
            assert [choice["value"] for choice in choices] == ["v1", "base"]


class TestLayout:
    @pytest.mark.parametrize("prompts", [1, 3])
    def test_the_longest_answers_and_prompts_fit_an_embed(self, prompts):
        releases = [BASE_RELEASE, Release(None, None)]
        answers = ("word " * 2_000, "x" * 10_000)
        embed = lay_side_by_side(releases, [Comparison("p" * MAX_PROMPT_CHARS, answers)] * prompts, OutputSettings())
        assert len(embed) <= EMBED_CHARS
        assert all(field.value is not None and len(field.value) <= FIELD_CHARS for field in embed.fields)
        assert all(str(field.value).endswith(SHORTENED) for field in embed.fields)

    def test_short_answers_are_whole(self):
        embed = lay_side_by_side([BASE_RELEASE, BASE_RELEASE], [Comparison("p", ("one", "two"))], OutputSettings())
        assert [field.value for field in embed.fields] == ["p", "one", "two"]


def test_prompts_come_from_all_over_the_bank_and_are_always_the_same():
    bank = parse_bank("\n".join(f"question {i}" for i in range(10)), "here")
    assert choose_prompts(bank) == ["question 0", "question 3", "question 6"]
    assert choose_prompts(parse_bank("one\ntwo", "here")) == ["one", "two"]

"""Several answers are begun, and the one is finished that members like most."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import select

from bot.chat.candidates import DECIDING_WORDS, ENOUGH_WORDS
from bot.engine import Completion, Finish, GenerationFailed
from storage.database.enums import Basis, Origin, Outcome
from storage.database.tables import ReplyChoiceRow, ReplyRow
from storage.personalities.cards import Card, Example
from storage.personalities.personalities import change_card, read_personality
from storage.taste.learning import FEWEST
from storage.words import count_words
from tests.bot.chat.conftest import CALM, LOUD
from tests.bot.scripted_engine import ScriptedGeneration

LONG = "".join(f"word{number} " for number in range(3 * DECIDING_WORDS))
BROKEN = f"{CALM} {'la ' * 20}"


def give_examples(query, *exchanges: tuple[str, str]) -> None:
    """Give the default personality's card these examples, which the base is shown."""
    card = Card(examples=tuple(Example(dialogue=said) for said in exchanges))
    query(lambda session: change_card(session, read_personality(session, 1), card, by="test"))


@pytest.fixture
def overrides():
    return {"REACTUNE_GENERATION__EXPLORATION": "0", "REACTUNE_CHAT__COOLDOWN_S": "0"}


@pytest.fixture
async def calm_people(like_calm_answers, env):
    """Members who like answers without exclamation marks, as their votes have shown."""
    await like_calm_answers()
    taste = env.bot.services.tastes.of(1)
    assert taste is not None
    assert len(taste.data) == FEWEST
    assert taste.score([CALM])[0] > taste.score([LOUD])[0]


async def test_without_votes_there_is_one_candidate(place, engine, rows):
    await place.ask("hi")
    assert len(engine.requests) == 1
    assert rows(ReplyChoiceRow) == []


@pytest.mark.usefixtures("calm_people")
class TestChoice:
    async def test_the_best_of_four_is_shown_and_recorded_and_the_others_are_kept(self, place, engine, rows):
        engine.answers = [LOUD, LOUD, CALM, LOUD]
        answer = await place.ask("hi")
        assert answer.content.startswith(CALM)
        assert len({request.seed for request in engine.requests}) == 4
        shown = next(row for row in rows(ReplyRow) if row.answer == CALM)
        (choice,) = rows(ReplyChoiceRow)
        assert (choice.reply_id, choice.shown, choice.propensity) == (shown.id, 2, 1.0)
        assert max(choice.utilities) == choice.utilities[2]
        assert shown.seed == engine.requests[2].seed
        unseen = [row for row in rows(ReplyRow) if row.origin is Origin.SAMPLE]
        assert [(row.answer, row.basis) for row in unseen] == [(LOUD, Basis.LOCAL)] * 3

    async def test_long_ones_are_compared_by_their_beginnings_and_only_the_chosen_one_is_finished(self, place, engine):
        def stopped():
            return [g.cancelled_after for g in engine.generations[-4:] if not g.completion.text.startswith(CALM)]

        engine.answers = [f"{LOUD} {LONG}", f"{CALM} {LONG}", f"{LOUD} {LONG}", f"{LOUD} {LONG}"]
        assert (await place.ask("hi")).content.startswith(f"{CALM} {LONG.strip()}")
        assert [len(text.split()) for text in stopped()] == [DECIDING_WORDS + 1] * 3
        without_spaces = "猫がねこじゃらしで遊ぶ。" * 20
        engine.answers = [f"{said} {without_spaces}" for said in (LOUD, CALM, LOUD, LOUD)]
        assert (await place.ask("hi")).content.startswith(f"{CALM} {without_spaces}")
        assert all(DECIDING_WORDS < count_words(text) <= DECIDING_WORDS + 6 for text in stopped()), "a sentence more"
        # Once one has ended, the others need not get as far.
        engine.answers = [CALM, f"{LOUD} {LONG}", f"{LOUD} {LONG}", f"{LOUD} {LONG}"]
        assert (await place.ask("hi")).content.startswith(CALM)
        assert [len(text.split()) for text in stopped()] == [ENOUGH_WORDS + 1] * 3

    async def test_an_empty_or_broken_one_is_not_shown_however_much_people_like_its_style(self, place, engine, rows):
        engine.answers = [BROKEN, LOUD, BROKEN, BROKEN]
        assert (await place.ask("hi")).content.startswith(LOUD)
        assert {row.answer for row in rows(ReplyRow) if row.origin is Origin.SAMPLE} == {BROKEN.strip()}
        engine.answers = ["", LOUD, "", ""]
        assert (await place.ask("hi")).content.startswith(LOUD)
        engine.answers = [BROKEN] * 4
        assert (await place.ask("hi")).content.startswith(CALM), "if all are broken, one of them is shown"

    async def test_one_that_repeats_an_example_of_another_message_is_not_shown_unless_it_is_short(
        self, place, engine, query
    ):
        repeated = (
            ("How is the sea?", "It sounds fine to me."),
            ("hi", "Hello, nice of you to come."),
            ("How is the wind?", "Fine for now."),
        )
        give_examples(query, *repeated)
        engine.answers = ["it sounds  fine to me!", LOUD, LOUD, LOUD]
        assert (await place.ask("hi")).content.startswith(LOUD)
        engine.answers = [LOUD, LOUD, "Hello, nice of you to come.", LOUD]
        assert (await place.ask("hi")).content.startswith("Hello, nice"), "this is its message"
        engine.answers = ["Fine for now.", LOUD, LOUD, LOUD]
        assert (await place.ask("hi")).content.startswith("Fine for now.")

    async def test_a_candidate_that_has_nothing_to_do_with_the_message_is_not_shown_however_much_people_like_its_style(
        self, place, engine
    ):
        about_cats = "Wow! Your cat is so great! Play with your cat!"
        engine.answers = [CALM, about_cats, CALM, f"{about_cats} Cats love to play!"]
        assert (await place.ask("How do I play with my cat?")).content.startswith(about_cats)

    async def test_a_candidate_that_ran_out_of_time_is_not_shown(self, place, engine, rows):
        engine.answers = [CALM, LOUD, LOUD, LOUD]
        begin = engine.submit

        def first_runs_out_of_time(request):
            engine.finish = Finish.STOP if engine.generations else Finish.TIMEOUT
            return begin(request)

        engine.submit = first_runs_out_of_time
        assert (await place.ask("hi")).content.startswith(LOUD)
        assert Outcome.TIMEOUT not in {row.outcome for row in rows(ReplyRow)}
        assert [row.answer for row in rows(ReplyRow) if row.origin is Origin.SAMPLE] == [LOUD] * 2

    async def test_a_failed_engine_says_so_as_ever(self, place, engine, rows):
        engine.failure = GenerationFailed("out of memory")
        assert (await place.ask("hi")).content.startswith("Sorry, something went wrong")
        assert rows(ReplyRow)[-1].outcome is Outcome.FAILED

    async def test_a_full_queue_leaves_fewer_candidates(self, place, engine):
        submit, accepted = engine.submit, []

        def refuse_after_two(request):
            engine.full = len(accepted) >= 2
            accepted.append(request)
            return submit(request)

        engine.submit = refuse_after_two
        engine.answers = [LOUD, CALM]
        assert (await place.ask("hi")).content.startswith(CALM)
        assert len(engine.requests) == 2

    async def test_fewer_are_begun_where_members_would_wait_too_long(self, place, engine, monkeypatch):
        monkeypatch.setattr("bot.chat.candidates.MOST_EXTRA", 0.0)
        engine.answers = [LOUD, CALM]
        assert (await place.ask("hi")).content.startswith(CALM)
        assert len(engine.requests) == 2

    async def test_one_is_begun_where_none_of_four_got_to_its_first_word_in_time(self, place, engine, monkeypatch):
        monkeypatch.setattr("bot.chat.candidates.MOST_EXTRA", 0.5)
        late = Completion("", Finish.TIMEOUT, 0, 0, 0.0, None, 120.0)
        with monkeypatch.context() as slow:
            slow.setattr(ScriptedGeneration, "completion", property(lambda _generation: late))
            for _ in range(2):
                engine.answers = [""] * 4
                assert (await place.ask("hi")).content.startswith("Sorry, that took too long")
        engine.requests.clear()
        engine.answers = [CALM]
        assert (await place.ask("hi")).content.startswith(CALM)
        assert len(engine.requests) == 1

    async def test_the_bot_is_typing_before_the_first_is_begun(self, place, engine, env):
        before, submit, seen = len(env.http_requests), engine.submit, []

        def note_requests(request):
            seen.append([one.path for one in env.http_requests[before:]])
            return submit(request)

        engine.submit = note_requests
        await place.ask("hi")
        assert len(seen) == 4
        assert all(paths == [f"/channels/{place.channel.id}/typing"] for paths in seen)

    async def test_another_answer_to_the_same_question_is_chosen_too(self, place, engine, env):
        engine.answers = [LOUD] * 4
        answer = await place.ask("hi")
        engine.answers = [LOUD, LOUD, CALM, LOUD]
        await place.ada.react(answer, "🔁")
        await env.settle()
        assert place.last.content.startswith(CALM)

    async def test_a_member_who_forbids_learning_takes_their_votes_out_of_the_choice(self, place, engine, env):
        page = await place.bo.slash(place.channel, "privacy")
        await place.bo.click(page.response, label="Forbid learning")
        await env.settle()
        engine.answers = [LOUD]
        await place.ask("hi")
        assert len(engine.requests) == 1

    async def test_a_vote_that_is_taken_back_is_unlearned_and_a_new_one_added(self, place, env):
        tastes = env.bot.services.tastes
        answer = await place.ask("hi")
        await place.bo.react(answer, "👍")
        await env.settle()
        assert len(tastes.of(1).data) == FEWEST + 1
        await place.ada.react(answer, "👎")
        await env.settle()
        assert (len(tastes.of(1).data), tastes.of(1).data.voters) == (FEWEST + 2, 2)
        await place.bo.unreact(answer, "👍")
        await env.settle()
        assert (len(tastes.of(1).data), tastes.of(1).data.voters) == (FEWEST + 1, 2)

    async def test_a_taste_that_is_no_better_than_chance_goes_on_to_choose_and_a_refuted_one_does_not(
        self, place, engine, env
    ):
        tastes = env.bot.services.tastes
        taste = tastes.of(1)
        unlucky = replace(taste.bettor, log_capitals=taste.bettor.log_capitals - 0.1)
        for bettor, asked in ((unlucky, 4), (replace(unlucky, is_refuted=True), 1)):
            tastes._known[1] = replace(tastes._known[1], taste=replace(taste, bettor=bettor))
            engine.requests.clear()
            await place.ask("hi")
            assert len(engine.requests) == asked


class TestSecondAnswer:
    """Without a version that waits, a second answer is the one whose choice against the first teaches most."""

    @pytest.fixture
    def asked_twice(self, env, monkeypatch):
        """From now on, every answer comes with a second one."""
        settings = env.bot.services.settings
        chat = settings.chat.model_copy(update={"second_answers": 1.0})
        env.change_settings(settings.model_copy(update={"chat": chat}))

    @pytest.mark.usefixtures("calm_people", "asked_twice")
    async def test_it_is_another_kind_of_answer_and_no_choice_of_the_taste(self, place, engine, rows):
        engine.answers = [CALM, CALM, "Is it? Why do you ask?", CALM, CALM]
        await place.ask("hi")
        assert len(engine.requests) == 5
        first, second = [row.answer for row in rows(ReplyRow) if row.origin is not Origin.SAMPLE][-2:]
        assert (first, second) == (CALM, "Is it? Why do you ask?")
        assert rows(ReplyChoiceRow) == []
        await place.ask("and now?")  # this one comes alone
        engine.answers = [f"{said} {LONG}" for said in (CALM, CALM, LOUD, CALM, CALM)]
        await place.ask("hi")
        assert place.last.content.startswith(LOUD), "long ones are compared by their beginnings"

    @pytest.mark.usefixtures("calm_people", "asked_twice")
    async def test_between_two_versions_nothing_is_selected(self, place, engine, waiting):
        waiting(1.0)
        await place.ask("hi")
        assert len(engine.requests) == 2


class TestExploration:
    @pytest.fixture
    def overrides(self):
        return {"REACTUNE_GENERATION__EXPLORATION": "1", "REACTUNE_CHAT__COOLDOWN_S": "0"}

    @pytest.mark.usefixtures("calm_people")
    async def test_a_random_one_is_shown_with_its_propensity(self, place, engine, rows, monkeypatch):
        monkeypatch.setattr("bot.chat.candidates.random.randrange", lambda _most: 1)
        engine.answers = [CALM, LOUD, CALM, CALM]
        assert (await place.ask("hi")).content.startswith(LOUD)
        choice = rows(ReplyChoiceRow)[-1]
        assert (choice.shown, choice.propensity) == (1, 0.25)
        engine.answers = [CALM, CALM, CALM, LOUD]
        assert (await place.ask("hi")).content.startswith(CALM)
        assert rows(ReplyChoiceRow)[-1].propensity == 0.75, "equal ones are as likely as all of them together"


class TestSwitchedOff:
    @pytest.fixture
    def overrides(self):
        return {"REACTUNE_GENERATION__CANDIDATES": "1", "REACTUNE_CHAT__COOLDOWN_S": "0"}

    @pytest.mark.usefixtures("calm_people")
    async def test_one_answer_is_drawn(self, place, engine, query):
        engine.answers = [LOUD, CALM]
        assert (await place.ask("hi")).content.startswith(LOUD)
        assert len(engine.requests) == 1
        assert query(lambda session: session.scalar(select(ReplyChoiceRow))) is None

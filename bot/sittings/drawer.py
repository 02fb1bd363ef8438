"""Draws the pairs of answers that people compare in sittings, ahead of time, so that nobody waits for the next one."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence

from bot.arenas.answers import ArenaFailed, DrawnAnswer, draw_answers, open_usable, reply_row
from bot.arenas.prompts import render_bank_prompt
from bot.chat.ask import Prompts
from bot.chat.rendering import render_with_examples
from bot.engine import RenderedPrompt, pairs_lane
from bot.errors import UserFacingError
from bot.guards.error_handler import member_message
from bot.releases.resolver import Release
from bot.services import Services
from storage.conversations.prompt_bank import read_bank
from storage.database.enums import NOBODY, Origin, PairChoice
from storage.personalities.cards import tuned
from storage.personalities.personalities import Personality, read_personality
from storage.releases.contests import find_rival
from storage.sittings.prompts import prompts_left
from storage.sittings.sittings import (
    Answer,
    Sitting,
    add_pair,
    add_shared_pair,
    choose_two,
    count_drawn_ahead,
    drop_outdated,
    take_spare,
)
from storage.taste.examples import Examples

log = logging.getLogger(__name__)

AHEAD = 3
"""Pairs that are drawn and not labelled yet."""
SPARES = 10
"""Pairs that are drawn ahead for the next person."""
ANSWERS = 4
"""Answers of which a pair is chosen."""
SHARED = 0.15
"""Share of pairs that somebody else labelled too, if there are any."""
TRIES = 3
"""Prompts to try until one has two different answers."""


class PairDrawer:
    """Keeps some pairs ahead of each sitting."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._drawing: set[int] = set()
        """Sittings for which pairs are being drawn."""
        self._problems: dict[int, str] = {}
        self._rng = random.Random()

    def keep_ahead(self, sitting: Sitting) -> None:
        """Draw the missing pairs in the background; those of a sitting of NOBODY are for the next person."""
        if sitting.id not in self._drawing:
            self._drawing.add(sitting.id)
            self._problems.pop(sitting.id, None)  # it may be over by now
            self._services.tasks.spawn(self._draw_ahead(sitting), f"draw pairs for sitting {sitting.id}")

    def take_problem(self, sitting: Sitting) -> str | None:
        """Return the reason why no pair could be drawn last time, once."""
        return self._problems.pop(sitting.id, None)

    async def _draw_ahead(self, sitting: Sitting) -> None:
        database, is_spare = self._services.database, sitting.user_id == NOBODY
        number, draw = (SPARES, self._draw_fresh) if is_spare else (AHEAD, self._draw)
        try:
            await database.run(drop_outdated, sitting)
            while await database.read(count_drawn_ahead, sitting.id) < number:
                await draw(sitting)
        except Exception as error:
            if is_spare:  # the next person who waits for a pair will see it
                log.info("Spare pairs of personality %d were not drawn: %s", sitting.personality_id, error)
            else:
                self._problems[sitting.id] = member_message(error)
        finally:
            self._drawing.discard(sitting.id)

    async def _draw(self, sitting: Sitting) -> None:
        """Add one pair; raises UserFacingError if that was not possible."""
        database = self._services.database
        if self._rng.random() < SHARED and await database.run(add_shared_pair, sitting):
            return
        if not await database.run(take_spare, sitting):
            await self._draw_fresh(sitting)

    async def _draw_fresh(self, sitting: Sitting) -> None:
        await self._services.model_loaded.wait()
        personality = await self._services.database.read(read_personality, sitting.personality_id)
        contenders = await self._contenders(personality.id)
        failure = UserFacingError("Every prompt is too long for the model's context.")
        for prompt in await self._next_prompts(sitting):
            rendered = await render_bank_prompt(self._services, prompt, personality)
            if rendered is None:
                continue
            try:
                return await self._add(sitting, personality, prompt, rendered, contenders)
            except ArenaFailed as error:
                failure = error
        raise failure

    async def _contenders(self, personality_id: int) -> list[Release]:
        """Return the champion, and the version that waits for people's choices if there is one."""
        releases = self._services.releases
        champion = await releases.current(personality_id)
        rival = await self._services.database.read(find_rival, personality_id)
        challengers = await asyncio.to_thread(open_usable, releases, [rival]) if rival else []
        return [champion, *challengers]

    async def _next_prompts(self, sitting: Sitting) -> Sequence[str]:
        """Return the prompts to try, of those that the person was not asked yet; raises UserFacingError if none is."""
        bank = await asyncio.to_thread(read_bank, self._services.settings.arena.prompts)
        left = await self._services.database.read(prompts_left, sitting, bank, self._rng)
        if not left:
            raise UserFacingError(
                "You have compared answers to every prompt that there is. An admin can add more in the console "
                "(Choose)."
            )
        return left[:TRIES]

    async def _add(
        self, sitting: Sitting, personality: Personality, text: str, prompts: Prompts, contenders: list[Release]
    ) -> None:
        services = self._services
        is_contest = len(contenders) > 1
        if is_contest:
            asked = [(release, prompts.of(release)) for release in contenders]
        else:
            asked = await self._to_teach(personality, prompts.plain, *contenders)
        generation = tuned(services.settings.generation, personality.card)
        drawn = await draw_answers(services.engine, asked, generation, lane=pairs_lane(personality.id))
        if is_contest and len(drawn) < len(contenders):
            raise ArenaFailed("both versions gave the same answers")
        texts = [answer.finished.answer for answer in drawn]
        indices, chosen_by = choose_two(texts, services.tastes.of(personality.id), self._rng)
        shown = [drawn[index] for index in indices]
        first, second = (self._row(personality, answer, Origin.SITTING) for answer in shown)
        unshown = [self._row(personality, answer, Origin.SAMPLE) for answer in drawn if answer not in shown]
        if is_contest:
            chosen_by = PairChoice.RIVALS
        about = {"card": personality.card, "chosen_by": chosen_by, "unshown": unshown}
        await services.database.run(add_pair, sitting, text, (first, second), **about)

    async def _to_teach(
        self, personality: Personality, plain: RenderedPrompt, champion: Release
    ) -> list[tuple[Release, RenderedPrompt]]:
        """Return the request of a pair that teaches the taste: as in rounds, half plain and half with the card.

        Answers of both kinds differ more, so that people more often prefer one. Liked answers would teach the taste
        nothing new.
        """
        of_card = Examples.of(self._services.settings, personality.card)
        shown = await render_with_examples(self._services.engine, plain, of_card) if champion.is_base else None
        return [(champion, prompt) for _ in range(ANSWERS // 2) for prompt in (plain, shown or plain)]

    def _row(self, personality: Personality, answer: DrawnAnswer, origin: Origin) -> Answer:
        row = reply_row(self._services, personality, answer, guild_id=None, origin=origin)
        return row, answer.finished

"""Draws the answers of an arena: different texts, from different versions if there are several."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass

from sqlalchemy.orm import Session

from bot.chat.ask import Prompts, finished_reply, request_answer, submit_all
from bot.chat.prompting import stored_messages
from bot.engine import Completion, Engine, Generation, GenerationFailed, GenerationRequest, RenderedPrompt
from bot.errors import EngineStopped, UserFacingError
from bot.releases.resolver import Release, ReleaseResolver
from bot.services import Services
from storage.conversations.replies import FINISHED_WHOLE, FinishedReply, NewReply
from storage.database.enums import CHAMPION, LAST_GOOD, NOBODY, Basis, Origin
from storage.errors import AdapterError
from storage.personalities.cards import tuned
from storage.personalities.personalities import Personality
from storage.releases.contests import find_rival
from storage.releases.versions import Version, name_of, read_alias
from storage.settings.sections import GenerationSettings

log = logging.getLogger(__name__)


ATTEMPTS = 4
"""Attempts at an answer for each position until it differs from the others."""
FEWEST_ANSWERS = 2

ReportReady = Callable[[int], Awaitable[None]]
"""Gets the number of answers so far."""


class ArenaFailed(UserFacingError):
    """Raised if there is nothing to compare."""


@dataclass(frozen=True)
class DrawnAnswer:
    release: Release
    prompt: RenderedPrompt
    request: GenerationRequest
    finished: FinishedReply


async def answer_arena(
    services: Services, personality: Personality, prompts: Prompts, number: int, report: ReportReady
) -> list[DrawnAnswer]:
    """Return up to `number` answers in random order; raises as `draw_answers` does."""
    versions, rival = await services.database.read(_versions, personality.id)
    releases = await asyncio.to_thread(_contenders, services.releases, versions, rival, number)
    generation = tuned(services.settings.generation, personality.card)
    asked = [(release, prompts.of(release)) for release in releases]
    drawn = await draw_answers(services.engine, asked, generation, report, lane=personality.id)
    return random.sample(drawn, len(drawn))


async def draw_answers(
    engine: Engine,
    asked: Sequence[tuple[Release, RenderedPrompt]],
    generation: GenerationSettings,
    report: ReportReady | None = None,
    *,
    lane: int = 0,
) -> list[DrawnAnswer]:
    """Return whole answers that all differ, one of each release to its prompt; the first is the champion's.

    An empty or repeated answer is sampled again, and dropped after the last attempt. If two releases give the same
    answer, both are sampled again: one that only makes way for the other would give rarer answers. Raises ArenaFailed
    if the champion's is dropped, if fewer than two are left, or if the engine fails or times out; EngineBusy and
    EngineClosed as the engine does.
    """
    drawn: dict[int, DrawnAnswer] = {}
    is_alike = False
    for _ in range(ATTEMPTS):
        requests = {
            position: request_answer(prompt, release, generation, lane=lane)
            for position, (release, prompt) in enumerate(asked)
            if position not in drawn
        }
        async with aclosing(_complete(engine, requests)) as completions:
            async for position, completion in completions:
                release, prompt = asked[position]
                finished = finished_reply(completion, prompt)
                if finished.outcome not in FINISHED_WHOLE:
                    raise ArenaFailed("the model timed out or was stopped: try again later")
                same = [at for at, other in drawn.items() if other.finished.answer == finished.answer]
                if finished.answer and not same:
                    drawn[position] = DrawnAnswer(release, prompt, requests[position], finished)
                    if report:
                        await report(len(drawn))
                for at in same:
                    if asked[at][0] != release:
                        del drawn[at]
                        is_alike = True
    if 0 not in drawn and not is_alike:
        name = asked[0][0].name
        raise ArenaFailed("the version in use ({version}) gave an empty answer: try another prompt", version=name)
    if 0 not in drawn or len(drawn) < FEWEST_ANSWERS:
        raise ArenaFailed("all answers are the same: raise generation.temperature, or try another prompt")
    return [drawn[position] for position in sorted(drawn)]


async def _complete(
    engine: Engine, requests: Mapping[int, GenerationRequest]
) -> AsyncGenerator[tuple[int, Completion]]:
    """Submit all requests at once, and yield each completion with its position, in order of positions."""
    generations: Sequence[Generation] = ()
    try:
        generations = submit_all(engine, [*requests.values()])
        for position, generation in zip(requests, generations, strict=True):
            async for _ in generation:
                pass
            yield position, generation.completion
    except (GenerationFailed, EngineStopped) as error:
        log.exception("An answer for an arena failed.")
        raise ArenaFailed("the model failed: the operator finds the reason in the log") from error
    finally:
        for generation in generations:
            generation.cancel()


def reply_row(
    services: Services,
    personality: Personality,
    answer: DrawnAnswer,
    *,
    guild_id: int | None,
    channel_id: int = NOBODY,
    origin: Origin = Origin.ARENA,
) -> NewReply:
    """Return the answer as a reply to a prompt of the bank, in which no member spoke."""
    version, prompt = answer.release.version, answer.prompt
    return NewReply(
        personality_id=personality.id,
        version_id=version.id if version else None,
        base_revision=services.base.revision,
        prompt=prompt.text,
        messages=stored_messages(prompt.messages),
        sampling=asdict(answer.request.sampling),
        seed=answer.request.seed,
        prompt_tokens=prompt.tokens,
        dropped_turns=prompt.dropped,
        guild_id=guild_id,
        channel_id=channel_id,
        author_id=NOBODY,
        source_message_id=None,
        basis=Basis.PROMPT_BANK,
        speakers=(),
        origin=origin,
    )


def _versions(session: Session, personality_id: int) -> tuple[list[Version | None], Version | None]:
    """Return the champion, last-good, the base and the champion's rival, each once."""
    champion, last_good = (read_alias(session, personality_id, name).version for name in (CHAMPION, LAST_GOOD))
    ordered = {name_of(version): version for version in (champion, last_good, None)}
    return list(ordered.values()), find_rival(session, personality_id)


def _contenders(
    releases: ReleaseResolver, versions: Sequence[Version | None], rival: Version | None, number: int
) -> list[Release]:
    """Return the releases that answer, the champion first; versions with damaged files are left out.

    The champion and its rival give equal parts, because otherwise picks would not say which one members like better.
    Without a rival each version answers once, and the champion fills what is left.
    """
    if rival is not None:
        both = open_usable(releases, [versions[0], rival])
        if len(both) == FEWEST_ANSWERS:
            return both * (number // FEWEST_ANSWERS)
    usable = open_usable(releases, versions)
    return [*usable, *[usable[0]] * number][:number]


def open_usable(releases: ReleaseResolver, versions: Sequence[Version | None]) -> list[Release]:
    """Return the versions whose files are undamaged."""
    usable = []
    for version in versions:
        try:
            usable.append(releases.open(version))
        except AdapterError as error:
            log.warning("Left %s out of a comparison: %s", name_of(version), error)
    return usable

"""Draws the answers of an arena from the engine: different words, from different versions where there are several."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from bot.chat.ask import finished_reply, request_answer
from bot.engine import Completion, Engine, GenerationFailed, GenerationRequest, RenderedPrompt
from bot.errors import EngineStopped, UserFacingError
from bot.releases.resolver import Release
from storage.conversations.replies import FINISHED_WHOLE, FinishedReply
from storage.settings.sections import GenerationSettings

log = logging.getLogger(__name__)

ATTEMPTS = 4
"""How often each place of an arena is sampled until its answer differs from the others."""
FEWEST_ANSWERS = 2

Report = Callable[[int], Awaitable[None]]


class ArenaFailed(UserFacingError):
    """There is nothing to compare."""


@dataclass(frozen=True)
class DrawnAnswer:
    release: Release
    request: GenerationRequest
    finished: FinishedReply


def share_places(contenders: Sequence[Release], places: int) -> list[Release]:
    """Return who answers at each place: the contenders in order, the champion first, then the champion again."""
    chosen = list(contenders[:places])
    return chosen + [contenders[0]] * (places - len(chosen))


async def draw_answers(
    engine: Engine,
    prompt: RenderedPrompt,
    places: Sequence[Release],
    generation: GenerationSettings,
    report: Report,
    *,
    lane: int = 0,
) -> list[DrawnAnswer]:
    """Return whole answers in different words, the champion's first; `report` gets how many there are so far.

    A place whose answer is empty or said already is sampled again, and dropped in the end. Raises ArenaFailed where
    the champion's is, where fewer than two are left, or where the engine fails or takes too long; EngineBusy and
    EngineClosed as the engine does.
    """
    drawn: dict[int, DrawnAnswer] = {}
    for _ in range(ATTEMPTS):
        requests = {
            place: request_answer(prompt, release, generation, lane=lane)
            for place, release in enumerate(places)
            if place not in drawn
        }
        async with aclosing(_complete(engine, requests)) as completions:
            async for place, completion in completions:
                finished = finished_reply(completion)
                if finished.outcome not in FINISHED_WHOLE:
                    raise ArenaFailed("the model took too long, or was stopped: try again later")
                if finished.answer not in {"", *(other.finished.answer for other in drawn.values())}:
                    drawn[place] = DrawnAnswer(places[place], requests[place], finished)
                    await report(len(drawn))
    if 0 not in drawn:
        raise ArenaFailed(f"no words came from the champion, {places[0].name}: try another prompt")
    if len(drawn) < FEWEST_ANSWERS:
        raise ArenaFailed("all answers are the same: raise generation.temperature, or try another prompt")
    return [drawn[place] for place in sorted(drawn)]


async def _complete(
    engine: Engine, requests: Mapping[int, GenerationRequest]
) -> AsyncGenerator[tuple[int, Completion]]:
    """Submit the requests together and yield each completion with its place, in order of places."""
    generations = {}
    try:
        for place, request in requests.items():
            generations[place] = engine.submit(request)
        for place, generation in generations.items():
            async for _ in generation:
                pass
            yield place, generation.completion
    except (GenerationFailed, EngineStopped) as error:
        log.exception("an answer for an arena failed")
        raise ArenaFailed("the model could not answer: the operator's log says why") from error
    finally:
        for generation in generations.values():
            generation.cancel()

"""Draws several answers to a question; the taste model, or chance, chooses the one that is shown."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from bot.chat.prompting import ChatMessage
from bot.chat.tastes import Tastes
from bot.engine import Completion, Engine, Finish, Generation, GenerationFailed, GenerationRequest
from bot.errors import EngineBusy
from storage.conversations.degenerate import is_degenerate, repeats_answer
from storage.conversations.example_turns import shown_exchanges
from storage.personalities.personalities import Personality
from storage.taste.gain import CandidateChoice
from storage.taste.learning import Beginning, LearnedTaste
from storage.taste.likings import Effect, why_chosen
from storage.taste.model import Floats
from storage.taste.relevance import are_relevant
from storage.taste.updating import KnownTaste
from storage.words import count_words, first_words

Embed = Callable[[Sequence[str]], Awaitable[Floats | None]]
"""Returns vectors of length 1, (N, D); None without an encoder."""
EMBEDDED_WITHIN_S = 1.0
"""Longest wait for the encoder, which may be loading or busy with a document; then style alone decides."""
DECIDING_WORDS = 32
"""Candidates are compared once each has this many words or has ended; then only the chosen one is finished.

Most of what the whole answers would tell is known by then: see docs/internals/statistics.md.
"""
ENOUGH_WORDS = 16
"""Words to compare once one candidate has ended: a short answer must not wait long for the others."""
MOST_EXTRA, UNNOTICED_S = 0.5, 0.6
"""Time that choosing may add: this share of a single answer's time, and always at least this many seconds."""
USUAL_S, USUAL_EXTRA_S = 3.0, 0.5
"""First guesses of a single answer's time and of the time each further candidate adds, weighed as one measurement."""
LEAST_EXTRA_S = 0.001
REMEMBERED = 0.8
"""Weight of the earlier answers next to each new one: after a round that took the cores, it forgets how slow it was."""


class Pace:
    """Learns from each answer: its candidates share the machine until one is chosen, which goes on alone."""

    def __init__(self) -> None:
        self._rest_s = self._rest_chars = 0.0
        """Time and characters of the parts that were written alone."""
        self._answers, self._alone_s = 1.0, USUAL_S
        self._further, self._extra_s = 1.0, USUAL_EXTRA_S
        """Totals: answers, and their time had each been alone; further candidates, and the time that they added."""
        self._untold = 0
        """Answers that taught nothing, because no part of any had been written alone yet."""

    @property
    def most(self) -> int:
        """The most answers to begin, at least one."""
        if self._untold > 1:
            return 1
        allowed_s = max(UNNOTICED_S, MOST_EXTRA * self._alone_s / self._answers)
        return 1 + int(allowed_s / max(LEAST_EXTRA_S, self._extra_s / self._further))

    def note(self, begun: int, chosen_s: float, chosen_chars: int, whole: Completion) -> None:
        """Learn from an answer, chosen among `begun` after `chosen_s`, when it had `chosen_chars` characters."""
        chars, first_s = len(whole.text), whole.first_token_s
        if begun > 1 and not chars and whole.finish is Finish.TIMEOUT:
            first_s = whole.total_s  # or later: none has read its prompt in time
        elif first_s is None or not chars:
            return
        if begun == 1:
            chosen_s, chosen_chars = first_s, 0
        if chars > chosen_chars:
            self._rest_s = REMEMBERED * self._rest_s + max(0.0, whole.total_s - chosen_s)
            self._rest_chars = REMEMBERED * self._rest_chars + chars - chosen_chars
        if not self._rest_chars:
            self._untold += 1
            return
        self._untold = 0
        # Each reads the prompt by itself, and all that begin together have read it at about the same moment.
        alone_s = first_s / begun + chars * self._rest_s / self._rest_chars
        extra_s = max(chosen_s, whole.total_s) - alone_s if begun > 1 else 0.0
        self._answers = _remember(self._answers, 1.0, 1.0)
        self._alone_s = _remember(self._alone_s, alone_s, USUAL_S)
        self._further = _remember(self._further, begun - 1, 1.0)
        self._extra_s = _remember(self._extra_s, extra_s, USUAL_EXTRA_S)


def _remember(known: float, new: float, usual: float) -> float:
    """Return the sum with the new number; old and unusual numbers fade."""
    return usual + REMEMBERED * (known - usual) + new


@dataclass(frozen=True)
class Draft:
    """The beginning of a candidate, or all of it."""

    place: int
    text: str
    is_whole: bool
    rest: AsyncIterator[str]


class CandidateGeneration:
    """A generation that follows the chosen one of several candidates, or the only one."""

    def __init__(
        self,
        drawer: CandidateDrawer,
        known: KnownTaste | None,
        begun: Sequence[tuple[GenerationRequest, Generation]],
        asked: Sequence[ChatMessage],
        beside: str | None,
    ) -> None:
        # Not time.monotonic: a Discord simulator moves that clock.
        self._began_at = time.perf_counter()
        self._drawer = drawer
        self._known = known
        self._requests = [request for request, _ in begun]
        self._generations = [generation for _, generation in begun]
        self._message = asked[-1]["content"]
        self._examples = shown_exchanges(asked)
        self._beside = beside
        self._has_one_ended = False
        self._shown = 0
        self.choice: CandidateChoice | None = None
        """How the taste chose the shown candidate, once it has."""
        self.because: Effect | None = None
        """The strongest liking for the shown candidate, if it was not chosen by chance."""
        self.unshown: tuple[Completion, ...] = ()
        """The other candidates that had ended by then."""

    @property
    def request(self) -> GenerationRequest:
        return self._requests[self._shown]

    @property
    def follows_taste(self) -> bool:
        """Whether the taste may choose, even if there was no room for several candidates."""
        return self._known is not None

    @property
    def completion(self) -> Completion:
        return self._generations[self._shown].completion

    def cancel(self) -> None:
        for generation in self._generations:
            generation.cancel()

    async def __aiter__(self) -> AsyncIterator[str]:
        if self._known is None or len(self._generations) == 1:
            async for delta in self._generations[0]:
                yield delta
            self._drawer.pace.note(1, 0.0, 0, self.completion)
            return
        drafts = await self._read_ahead()
        usable = [draft for draft in drafts if self._is_usable(draft)] or drafts
        sound = [draft for draft in usable if self._is_sound(draft.text)] or usable
        relevant = await self._relevant(sound)
        chosen = relevant[self._choose([(draft.text, draft.is_whole) for draft in relevant], self._known)]
        self._shown = chosen.place
        for draft in drafts:
            if draft is not chosen:
                self._generations[draft.place].cancel()
        self.unshown = tuple(
            self._generations[draft.place].completion
            for draft in drafts
            if draft is not chosen and draft.is_whole and self._is_usable(draft)
        )
        chosen_s = time.perf_counter() - self._began_at
        yield chosen.text
        async for delta in chosen.rest:
            yield delta
        self._drawer.pace.note(len(drafts), chosen_s, len(chosen.text), self.completion)

    async def _read_ahead(self) -> list[Draft]:
        """Return the beginnings of the candidates that did not fail; raises GenerationFailed if all did."""
        readings = [self._begin(place, generation) for place, generation in enumerate(self._generations)]
        found = await asyncio.gather(*readings, return_exceptions=True)
        drafts = [draft for draft in found if isinstance(draft, Draft)]
        for error in found:
            if isinstance(error, BaseException) and (not drafts or not isinstance(error, GenerationFailed)):
                raise error
        return drafts

    async def _begin(self, place: int, generation: Generation) -> Draft:
        text, deltas = "", aiter(generation)
        async for delta in deltas:
            text += delta
            # The last word may be incomplete.
            if count_words(text) > (ENOUGH_WORDS if self._has_one_ended else DECIDING_WORDS):
                return Draft(place, text, is_whole=False, rest=deltas)
        self._has_one_ended |= text.strip() != ""
        return Draft(place, text, is_whole=True, rest=deltas)

    def _is_usable(self, draft: Draft) -> bool:
        if not draft.is_whole:
            return True
        ended_well = self._generations[draft.place].completion.finish in (Finish.STOP, Finish.LENGTH)
        return ended_well and draft.text.strip() != ""

    def _is_sound(self, text: str) -> bool:
        return not is_degenerate(text) and not repeats_answer(self._message, text, self._examples)

    async def _relevant(self, drafts: Sequence[Draft]) -> list[Draft]:
        """Return the candidates that relate to the message, if it is known in time: style must not cost sense."""
        if len(drafts) == 1:
            return list(drafts)
        vectors = None
        with suppress(TimeoutError):
            async with asyncio.timeout(EMBEDDED_WITHIN_S):
                vectors = await self._drawer.embed([self._message, *(draft.text for draft in drafts)])
        if vectors is None:
            return list(drafts)
        relevant = are_relevant((vectors[1:] @ vectors[0]).tolist())
        return [draft for draft, is_relevant in zip(drafts, relevant, strict=True) if is_relevant]

    def _choose(self, begun: Sequence[Beginning], known: KnownTaste) -> int:
        if self._beside is not None:
            return choose_beside(beginning_of(self._beside), begun, known.taste)
        self.choice = choose_liked(begun, known.taste, self._drawer.exploration)
        shown = self.choice.shown
        if self.choice.is_best:
            self.because = why_chosen(known.liked, begun[shown], [*begun[:shown], *begun[shown + 1 :]])
        return shown


def beginning_of(answer: str) -> Beginning:
    """Return the part of a whole answer by which candidates are compared."""
    begun = first_words(answer, DECIDING_WORDS + 1)
    return begun, count_words(begun) <= DECIDING_WORDS


def choose_liked(begun: Sequence[Beginning], taste: LearnedTaste, exploration: float) -> CandidateChoice:
    """Choose the candidate that the taste likes best, or a random one in the share `exploration`."""
    utilities = taste.score_begun(begun).tolist()
    best = max(utilities)
    shown = random.randrange(len(begun)) if random.random() < exploration else utilities.index(best)
    # Equal candidates are one: it is as likely to be shown as all of them together.
    by_chance = exploration * utilities.count(utilities[shown]) / len(begun)
    return CandidateChoice(
        utilities=tuple(utilities),
        shown=shown,
        propensity=by_chance + (1 - exploration if utilities[shown] == best else 0.0),
    )


def choose_beside(first: Beginning, begun: Sequence[Beginning], taste: LearnedTaste) -> int:
    """Return the place of the candidate whose comparison with the first answer teaches the taste most."""
    lessons = taste.lessons(first, begun).tolist()
    return max(range(len(begun)), key=lessons.__getitem__)


class CandidateDrawer:
    def __init__(self, engine: Engine, tastes: Tastes, exploration: float, embed: Embed) -> None:
        self._engine = engine
        self._tastes = tastes
        self.exploration = exploration
        self.embed = embed
        self.pace = Pace()

    def submit(
        self,
        request: GenerationRequest,
        personality: Personality,
        most: int,
        *,
        asked: Sequence[ChatMessage],
        beside: str | None = None,
    ) -> CandidateGeneration:
        """Submit the request, and up to `most` candidates in all if there is a taste to choose by and room for them.

        `asked` are the prompt's messages; `beside` is as in `Ask`. Raises EngineBusy and EngineClosed.
        """
        known = self._tastes.chooser_for(personality)
        if known is None:
            most = 1
        begun = [(request, self._engine.submit(request))]
        with suppress(EngineBusy):
            while len(begun) < most:
                another = replace(request, seed=secrets.randbits(31))
                begun.append((another, self._engine.submit(another)))
        return CandidateGeneration(self, known, begun, asked, beside)

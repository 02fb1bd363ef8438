"""Writes the row of an answer: its start, its choice among candidates, and its end."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial

from sqlalchemy.orm import Session

from bot.background import WriteBehindQueue
from bot.chat.ask import AnswerEnd, Ask
from bot.chat.candidates import CandidateGeneration
from bot.chat.prompting import stored_messages
from bot.engine import Finish, GenerationRequest, Sampling
from bot.errors import UserFacingError
from bot.privacy.recent_deletions import Deletions
from storage.conversations.replies import (
    FinishedReply,
    NewReply,
    abandon_reply,
    digest_prompt,
    find_reply,
    finish_reply,
    restart_reply,
    start_reply,
)
from storage.database.database import Database
from storage.database.engine import is_away
from storage.database.enums import Basis, Outcome
from storage.memory import still_exist
from storage.privacy.consent import basis_of_chat, erased_since
from storage.taste.gain import record_choice
from storage.training.samples import AskedPrompt, DrawnSample, record_samples
from storage.wording import gettext_noop

ERASED = gettext_noop("Someone whose words I was answering has just deleted their data. Please ask again.")
NOTE_DELETED = gettext_noop("A note about you that I was using has just been deleted. Please ask again.")
DELETED = gettext_noop("The message that I was answering, or one before it, has just been deleted. Please ask again.")
UNASKED = GenerationRequest(prompt="", seed=0, sampling=Sampling(0.0, 1.0, 0.0, max_new_tokens=0), adapter=None)
"""Stands in the row of a fixed sentence, for which no model was asked."""


def new_reply(ask: Ask, request: GenerationRequest, base_revision: str, basis: Basis | None) -> NewReply:
    """Return the reply's row as it is before the first token."""
    return NewReply(
        personality_id=ask.personality.id,
        version_id=ask.release.version.id if ask.release.version else None,
        strength=ask.strength,
        base_revision=base_revision,
        prompt=ask.prompt.text,
        messages=stored_messages(ask.prompt.messages),
        sampling=asdict(request.sampling),
        seed=request.seed,
        prompt_tokens=ask.prompt.tokens,
        dropped_turns=ask.prompt.dropped,
        guild_id=ask.guild_id,
        channel_id=ask.channel_id,
        author_id=ask.author_id,
        source_message_id=ask.source_message_id,
        basis=basis,
        speakers=ask.speakers,
        origin=ask.origin,
        retrieved=ask.retrieved,
        sources=ask.sources,
        has_outside_text=ask.has_outside_text,
    )


class ReplyRecorder:
    def __init__(
        self,
        *,
        database: Database,
        write_queue: WriteBehindQueue,
        deletions: Deletions,
        base_revision: str,
        fixed_basis: Basis | None,
    ) -> None:
        """`fixed_basis` is the training basis outside Discord; without one, the speakers' consent decides."""
        self._database = database
        self._write_queue = write_queue
        self._deletions = deletions
        self._base_revision = base_revision
        self._fixed_basis = fixed_basis

    async def start(self, ask: Ask, request: GenerationRequest) -> int:
        """Write the row and return its ID; raises UserFacingError if words of the prompt were deleted."""
        try:
            return await self._database.run(self._start, ask, request)
        except BaseException as error:
            if is_away(error):
                await self._write_queue.write(partial(abandon_reply, channel_id=ask.channel_id, seed=request.seed))
            raise

    async def store_fixed(self, ask: Ask, words: str, small_print: str) -> int:
        """Write the row of a fixed sentence that is still to be delivered; raises UserFacingError as `start` does."""
        return await self._database.run(self._store_fixed, ask, words, small_print)

    def _store_fixed(self, session: Session, ask: Ask, words: str, small_print: str) -> int:
        self._require_undeleted(session, ask)
        reply_id = start_reply(session, new_reply(ask, UNASKED, self._base_revision, basis=None))
        finish_reply(session, reply_id, FinishedReply(words, Outcome.COMPLETE), undelivered=small_print)
        return reply_id

    def _require_undeleted(self, session: Session, ask: Ask) -> None:
        # The row would bring deleted words back.
        if erased_since(session, ask.speakers, ask.asked_at):
            raise UserFacingError(ERASED)
        if not still_exist(session, ask.sources.notes):
            raise UserFacingError(NOTE_DELETED)
        if self._deletions.concern_prompt(ask.channel_id, ask.sources, ask.asked_at):
            raise UserFacingError(DELETED)

    def _start(self, session: Session, ask: Ask, request: GenerationRequest) -> int:
        self._require_undeleted(session, ask)
        of_chat = None if ask.has_outside_text else basis_of_chat(session, ask.speakers)
        basis = self._fixed_basis or of_chat
        return start_reply(session, new_reply(ask, request, self._base_revision, basis))

    async def restart(self, reply_id: int, ask: Ask, request: GenerationRequest) -> None:
        """Replace the version in the row, before anybody has seen a word of the answer."""
        new = new_reply(ask, request, self._base_revision, basis=None)
        await self._database.run(restart_reply, reply_id, new)

    async def finish(self, reply_id: int, end: AnswerEnd, draw: CandidateGeneration, *, is_delivered: bool) -> bool:
        """Write the answer's choice and end; return False if its row was deleted in the meantime."""
        undelivered = None if is_delivered else end.small_print
        write = partial(_finish, reply_id=reply_id, end=end, draw=draw, undelivered=undelivered)
        return await self._write_queue.write(write) is not False


def _finish(
    session: Session, *, reply_id: int, end: AnswerEnd, draw: CandidateGeneration, undelivered: str | None
) -> bool:
    finished = replace(end.finished, seed=draw.request.seed)
    if not finish_reply(session, reply_id, finished, undelivered=undelivered):
        return False
    if draw.choice is not None:
        record_choice(session, reply_id, draw.choice)
    if draw.unshown:
        _keep_unshown(session, reply_id, draw)
    return True


def _keep_unshown(session: Session, reply_id: int, draw: CandidateGeneration) -> None:
    """Store the candidates that were not shown, unless their prompt may not be trained on."""
    reply = find_reply(session, reply_id)
    if reply is None or reply.basis is None or reply.has_outside_text:
        return
    asked = AskedPrompt(reply.prompt, digest_prompt(reply.prompt), reply_id)
    record_samples(
        session,
        [DrawnSample(asked, one.text.strip(), is_cut=one.finish is Finish.LENGTH) for one in draw.unshown],
        personality_id=reply.personality_id,
        base_revision=reply.base_revision,
        version_id=reply.version_id,
        sampling=asdict(draw.request.sampling),
        seed=draw.request.seed,
    )

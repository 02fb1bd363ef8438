"""Writes the row of an answer: before its first message, and at its end."""

from __future__ import annotations

from functools import partial

from sqlalchemy.orm import Session

from bot.background.write_queue import WriteBehindQueue
from bot.chat.ask import AnswerEnd, Ask, new_reply
from bot.engine import GenerationRequest
from bot.errors import UserFacingError
from bot.privacy.recent_deletions import Deletions
from storage.conversations.replies import abandon_reply, finish_reply, start_reply
from storage.database.database import Database
from storage.database.engine import is_away
from storage.database.enums import Basis
from storage.privacy.consent import basis_of_chat, erased_since

ERASED = "Someone whose words I was answering has just deleted their data. Please ask again."
DELETED = "A message that I was answering, or one before it, was just deleted. Please ask again."


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

    def _start(self, session: Session, ask: Ask, request: GenerationRequest) -> int:
        # The row would bring deleted words back.
        if erased_since(session, ask.speakers, ask.asked_at):
            raise UserFacingError(ERASED)
        if self._deletions.concern_prompt(ask.channel_id, ask.sources, ask.asked_at):
            raise UserFacingError(DELETED)
        basis = self._fixed_basis or basis_of_chat(session, ask.speakers)
        return start_reply(session, new_reply(ask, request, self._base_revision, basis))

    async def finish(self, reply_id: int, end: AnswerEnd, *, is_delivered: bool) -> bool:
        """Write how the answer ended; return False if its row was deleted in the meantime."""
        undelivered = None if is_delivered else end.small_print
        write = partial(finish_reply, reply_id=reply_id, finished=end.finished, undelivered=undelivered)
        return await self._write_queue.write(write) is not False

"""Text of `reactune trace`."""

from __future__ import annotations

from collections.abc import Sequence

from storage.insights.request_trace import TracedReply

NOTHING_FOUND = "No reply has this request or message id. If the request got no answer, only the log has it."


def trace_lines(replies: Sequence[TracedReply]) -> list[str]:
    """Return the path from the message to replies, votes, rounds and versions, one step a line."""
    return [line for reply in replies for line in _lines(reply)] or [NOTHING_FOUND]


def _lines(reply: TracedReply) -> list[str]:
    took = f" in {reply.total_s:.1f} s" if reply.total_s is not None else ""
    asked = f"message {reply.source_message_id}" if reply.source_message_id else "no message"
    return [
        f"request {reply.request_id or 'unknown'}: {asked} in channel {reply.channel_id}",
        f"  reply {reply.id} by {reply.version}, {reply.created_at:%Y-%m-%d %H:%M:%S} UTC: {reply.outcome}{took}",
        f"  shown in {', '.join(f'message {id_}' for id_ in reply.message_ids) or 'no message'}",
        f"  votes: {', '.join(f'{number} {kind}' for kind, number in reply.votes.items()) or 'none'}",
        *(f"  round {r.id} learned from it: {r.status}{f', {r.version}' if r.version else ''}" for r in reply.rounds),
    ]

"""`reactune trace`: a request, from the message to the versions that learned from it."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from typing import Annotated

import typer

from storage.console import AsJson, Config, read_settings, show_plain
from storage.database.database import open_database


def trace_request(
    request: Annotated[str, typer.Argument(help="The reference that a member was told, or an answer's message id.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Follow a request: message, reply, votes, rounds and versions."""
    from bot.text.traces import trace_lines
    from storage.insights.request_trace import trace

    with contextlib.closing(open_database(read_settings(config))) as database, database.snapshot() as session:
        replies = trace(session, request.strip("`"))
    show_plain({"replies": [asdict(reply) for reply in replies]}, "\n".join(trace_lines(replies)), as_json)
    if not replies:
        raise typer.Exit(1)

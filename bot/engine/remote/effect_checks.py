"""Checks that a server answers as a version once it has it: vLLM accepts some adapters and answers as the bare base."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from bot.model_server import NEEDS_KEY, NOT_FOUND, Json, Refused, RefusedByServer, ServerError
from storage.adapters.folder_store import AdapterRef
from storage.adapters.shared_store import served_name
from storage.errors import AdapterError
from storage.models.effect import EffectCheck

log = logging.getLogger(__name__)

MEASURING_S = 120.0

Encode = Callable[[str], Sequence[int]]
"""Returns the tokens of a text."""
Measure = Callable[[AdapterRef | None, Sequence[int]], Awaitable[Sequence[float]]]
"""Returns the log-probability of each token except the first, as a server computes them; raises ServerError."""


class NoLogProbabilities(ServerError):
    """The server answers, but without log-probabilities of the tokens asked for."""

    def __init__(self, url: str) -> None:
        super().__init__(url, "returns no log-probabilities")


class EffectChecks:
    """Checks that the server answers as the versions it has: each is measured once, and again after it is forgotten."""

    def __init__(self, url: str, encode: Encode, remedy: str) -> None:
        """`remedy` is the advice about a version that the server does not answer as."""
        self._url = url
        self._encode = encode
        self._remedy = remedy
        self._faults: dict[str, str] = {}
        """{version: reason why it may not answer, or ""}"""
        self._has_warned = False
        """Whether the log already says that the server returns no log-probabilities."""

    async def require(self, adapter: AdapterRef, measure: Measure) -> None:
        """Raise RefusedByServer unless the server answers as the version.

        A server that tells no log-probabilities passes, and a warning says so once. One call at a time.
        """
        if not adapter.strength:
            return  # it is the base
        name = served_name(adapter)
        if name not in self._faults:
            self._faults[name] = await self._find_fault(adapter, measure)
        if fault := self._faults[name]:
            raise RefusedByServer(self._url, f"has {name}, but {fault}: {self._remedy}", may_pass=False)

    def forget(self, version: str | None = None) -> None:
        """Measure the version, by default every version, again before its next answer."""
        if version is None:
            self._faults.clear()
        else:
            self._faults.pop(version, None)

    async def _find_fault(self, adapter: AdapterRef, measure: Measure) -> str:
        try:
            check = await asyncio.to_thread(EffectCheck.of, adapter, self._encode)
            version, base = await measure(adapter, check.tokens), await measure(None, check.tokens)
            return await asyncio.to_thread(check.fault, version, base)
        except AdapterError as error:
            raise RefusedByServer(self._url, f"cannot get {served_name(adapter)}: {error}") from error
        except (NoLogProbabilities, Refused) as error:
            if isinstance(error, Refused) and error.status in NEEDS_KEY | {NOT_FOUND}:
                raise
            if not self._has_warned:
                self._has_warned = True
                log.warning("Versions cannot be checked: %s; compare one with the base by `/version compare`.", error)
            return ""


def listed_log_probabilities(reply: Json | None, tokens: Sequence[int], url: str) -> list[float]:
    """Return the log-probability of each token except the first from vLLM's `prompt_logprobs`.

    Raises NoLogProbabilities if they are missing.
    """
    try:
        told = (reply or {})["choices"][0]["prompt_logprobs"]
        return [float(one[str(token)]["logprob"]) for one, token in zip(told[1:], tokens[1:], strict=True)]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise NoLogProbabilities(url) from error


def generated_log_probabilities(reply: Json | None, tokens: Sequence[int], url: str) -> list[float]:
    """Return the log-probability of each token except the first from llama.cpp's `completion_probabilities`.

    Raises NoLogProbabilities if they are missing, or of other tokens.
    """
    try:
        told = (reply or {})["completion_probabilities"]
        found = {place: float(one["logprob"]) for place, one in enumerate(told) if one["id"] == tokens[place + 1]}
        return [found[place] for place in range(len(tokens) - 1)]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise NoLogProbabilities(url) from error


def forcing(tokens: Sequence[int]) -> str:
    """Return a grammar that lets llama.cpp generate exactly these tokens; their log-probabilities ignore it."""
    return "root ::= " + " ".join(f"<[{token}]>" for token in tokens)

"""A model server over HTTP, for answers, pictures and voice: sends requests, reads events, and explains failures."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
from pydantic import SecretStr

from bot.errors import BotError, VersionRefused
from storage.settings.sections import KEY_VARIABLE, RemoteSettings

EVENT = b"data:"
END = b"[DONE]"
POOLED_S = 15.0
"""Time to keep an idle connection; the longer, the more of them have died unnoticed."""
IDLE_SHARE = 1 / 3
"""Longest silence between two tokens, as a share of that before the first, which waits for the whole prompt."""
DEFAULT_RETRY_S = 1.0
SHORTEST_RETRY_S = 0.05
LONGEST_RETRY_S = 300.0
SAID_CHARS = 300
NOT_FOUND, TOO_MANY, UNAVAILABLE = 404, 429, 503
NEEDS_KEY = frozenset({401, 403})
OF_PROXIES = frozenset({502, UNAVAILABLE, 504})
"""Statuses with which a proxy reports that it cannot reach the server."""

Json = Mapping[str, Any]


class ServerError(BotError):
    """Base class of all failures of a server; each text names the server."""

    def __init__(self, url: str, what: str) -> None:
        super().__init__(f"{url} {what}")
        self.url = url
        self.what = what


class Unreachable(ServerError):
    """The server accepts no connection, a connection broke, or a proxy says so."""


class Faulty(ServerError):
    """The server reports a failure, or its reply is not an answer."""


class Slow(ServerError):
    """The server is silent for too long."""


class Overloaded(ServerError):
    def __init__(self, url: str, retry_after_s: float) -> None:
        super().__init__(url, f"is overloaded for the next {retry_after_s:g} s")
        self.retry_after_s = retry_after_s


class Refused(ServerError):
    def __init__(self, url: str, status: int, message: str) -> None:
        super().__init__(url, f"refuses with status {status}: {message}")
        self.status = status
        self.message = message


class RefusedByServer(ServerError, VersionRefused):
    """The server cannot answer with this version."""

    def __init__(self, url: str, what: str, *, may_pass: bool = True) -> None:
        super().__init__(url, what)
        self.may_pass = may_pass


@dataclass(frozen=True)
class Usage:
    prompt_tokens: int
    answer_tokens: int
    """Includes the token that ends an answer, as servers bill it."""


@dataclass(frozen=True)
class Piece:
    """The part of an answer in one event."""

    text: str
    finish: str | None
    model: str
    usage: Usage | None


def open_session(secret: SecretStr | None, settings: RemoteSettings) -> aiohttp.ClientSession:
    """Return connections that send the key, which appears in no error or log."""
    key = secret.get_secret_value().strip() if secret else ""
    return aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {key}"} if key else {},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_timeout_s),
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=POOLED_S),
    )


@asynccontextmanager
async def connect(url: str, secret: SecretStr | None, settings: RemoteSettings) -> AsyncIterator[Server]:
    """Yield one server, for a few requests."""
    async with open_session(secret, settings) as session:
        yield Server(url, session, settings)


class Server:
    def __init__(self, url: str, session: aiohttp.ClientSession, settings: RemoteSettings) -> None:
        self.url = url
        self._session = session
        self._settings = settings

    async def get(self, path: str, timeout_s: float | None = None) -> Any:
        """Return the reply as JSON, or None. The default time limit is `connect_timeout_s`. Raises ServerError."""
        return await self._call("GET", path, timeout_s or self._settings.connect_timeout_s)

    async def post(self, path: str, body: Json, timeout_s: float) -> Any:
        """Return the reply, JSON or None; raises ServerError."""
        return await self._call("POST", path, timeout_s, json=body)

    async def post_form(self, path: str, form: aiohttp.FormData, timeout_s: float) -> Any:
        """Return the reply to a form, which may have files, JSON or None; raises ServerError."""
        return await self._call("POST", path, timeout_s, data=form)

    async def _call(self, method: str, path: str, timeout_s: float, **body: Any) -> Any:
        with self._explaining(slow=f"did not reply at {path} within {timeout_s:g} s", lost="cannot be reached"):
            async with (
                asyncio.timeout(timeout_s),
                self._session.request(method, self.url + path, allow_redirects=False, **body) as response,
            ):
                await self._require_success(response)
                text = await response.text(errors="replace")
        try:
            return json.loads(text)
        except ValueError:
            return None

    async def complete(self, body: Json) -> AsyncGenerator[Piece, None]:
        """Yield the answer piece by piece; raises ServerError, also if it stops before its end."""
        has_ended = False
        async with aclosing(self._events("/v1/completions", body)) as events:
            async for event in events:
                piece = self._piece(event)
                has_ended = has_ended or piece.finish is not None
                yield piece
        if not has_ended:
            raise Unreachable(self.url, "stopped in the middle of an answer")

    async def _events(self, path: str, body: Json) -> AsyncGenerator[Json, None]:
        deadline = _now() + self._settings.first_token_timeout_s
        with self._explaining(slow="went silent in the middle of an answer", lost="lost the connection"):
            async with asyncio.timeout_at(deadline):
                response = await self._session.post(self.url + path, json=body, allow_redirects=False)
            async with response:
                async with asyncio.timeout_at(deadline):
                    await self._require_success(response)
                while True:
                    async with asyncio.timeout_at(deadline):
                        line = await response.content.readline()
                    data = line.strip().removeprefix(EVENT).strip()
                    if not line or data == END:
                        return
                    if not line.startswith(EVENT):
                        continue  # a comment that only keeps the connection open
                    event = self._event(data)
                    if _has_text(event):
                        deadline = _now() + self._settings.first_token_timeout_s * IDLE_SHARE
                    yield event

    @contextmanager
    def _explaining(self, slow: str, lost: str) -> Iterator[None]:
        """Raise failures of the connection as ServerError; `slow` and `lost` say what the server did."""
        try:
            yield
        except aiohttp.ConnectionTimeoutError as error:
            limit_s = self._settings.connect_timeout_s
            raise Unreachable(self.url, f"accepted no connection within {limit_s:g} s") from error
        except TimeoutError as error:
            raise Slow(self.url, slow) from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(self.url, f"{lost} ({_reason(error)})") from error
        except ValueError as error:
            raise Faulty(self.url, f"sends an event that is too long ({error})") from error

    def _event(self, data: bytes) -> Json:
        try:
            event = json.loads(data)
        except ValueError as error:
            raise Faulty(
                self.url, f"sends an event that is not JSON: {_shortened(data.decode(errors='replace'))}"
            ) from error
        if not isinstance(event, dict):
            raise Faulty(self.url, "sends an event that is not a JSON object")
        if event.get("error"):
            raise Faulty(self.url, f"fails in the middle of an answer: {_said(event)}")
        return event

    def _piece(self, event: Json) -> Piece:
        try:
            choice = event["choices"][0] if event["choices"] else {}
            usage = event.get("usage")
            return Piece(
                text=choice.get("text") or "",
                finish=choice.get("finish_reason"),
                model=str(event.get("model", "")),
                usage=Usage(int(usage["prompt_tokens"]), int(usage["completion_tokens"])) if usage else None,
            )
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            raise Faulty(self.url, f"sends an event that is not part of a completion (no {error})") from error

    async def _require_success(self, response: aiohttp.ClientResponse) -> None:
        if response.status < 300:
            return
        said = _said(_shortened((await response.content.read(SAID_CHARS * 4)).decode(errors="replace")))
        if said.startswith("<"):  # a page of a router
            said = response.reason or "a web page"
        retry_after = response.headers.get("Retry-After")
        if response.status == TOO_MANY or (response.status == UNAVAILABLE and retry_after):
            raise Overloaded(self.url, _seconds(retry_after))
        if response.status in OF_PROXIES:
            raise Unreachable(self.url, f"fails with status {response.status}: {said}")
        if response.status >= 500:
            raise Faulty(self.url, f"fails with status {response.status}: {said}")
        raise Refused(self.url, response.status, said)


async def served_models(server: Server, settings: RemoteSettings) -> tuple[str, ...]:
    """Return the names of its models; raises ServerError if it is unhealthy or does not list ours."""
    try:
        await server.get("/health")
    except Refused as error:  # not every server has this page
        if error.status in NEEDS_KEY:
            raise
    models = _names_in(await server.get("/v1/models"))
    # Other servers list other names: llama.cpp a path; gateways and transformers not every model they serve.
    wanted = settings.model
    if settings.kind == "vllm" and wanted and wanted not in models:
        listed = ", ".join(models) or "no model"
        raise ServerError(server.url, f"lists {listed}, not remote.model = {wanted!r}: set it to a listed model")
    return models


def problem_of(error: ServerError, setting: str = "remote.url", key_variable: str = KEY_VARIABLE) -> str:
    """Return the error and its remedy; `setting` holds the server's address."""
    if isinstance(error, Refused) and error.status in NEEDS_KEY:
        return f"{error}; set its key as {key_variable} in the environment or in .env"
    if isinstance(error, Unreachable):
        return f"{error}; start it, or correct {setting}"
    return str(error)


def _names_in(listed: Any) -> tuple[str, ...]:
    """Return the model IDs in a reply from /v1/models."""
    models = listed.get("data") if isinstance(listed, dict) else None
    if not isinstance(models, list):
        return ()
    return tuple(str(model["id"]) for model in models if isinstance(model, dict) and "id" in model)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _has_text(event: Json) -> bool:
    choices = event.get("choices")
    return bool(choices) and isinstance(choices, list) and bool(dict(choices[0]).get("text"))


def _said(body: Any) -> str:
    """Return a server's error message; `body` is JSON, parsed or not."""
    if isinstance(body, str):
        try:
            body = json.loads(body)
        except ValueError:
            return body or "nothing"
    if not isinstance(body, dict):
        return "nothing"
    error = body.get("error", body)
    said = error.get("message") or error.get("detail") if isinstance(error, dict) else error
    return _shortened(str(said or "nothing"))


def _shortened(text: str) -> str:
    return " ".join(text.split())[: SAID_CHARS * 4]


def _seconds(retry_after: str | None) -> float:
    """Return the seconds of a Retry-After header: a number, or the time until a date."""
    try:
        seconds = float(retry_after or DEFAULT_RETRY_S)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(retry_after or "") - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            seconds = DEFAULT_RETRY_S
    return min(max(SHORTEST_RETRY_S, seconds), LONGEST_RETRY_S)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__

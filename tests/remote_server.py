"""A server on loopback that answers by vLLM's recorded contract, refuses what is not in it, and fails on demand."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from storage.models.effect import read_effect

CONTRACT: dict[str, Any] = json.loads(Path(__file__).with_name("vllm_contract.json").read_text(encoding="utf-8"))
BASE_NAME = "base-model"
WORDS = ["one ", "two ", "three ", "four ", "five "]
TYPES = {"str": str, "int": int, "float": (int, float), "bool": bool, "dict": dict, "list": list}
TYPES["text or tokens"] = (str, list)

Fault = Callable[["RemoteServer", web.Request, "Stream"], Awaitable[web.StreamResponse | None]]


class Stream:
    """An answer that is being sent."""

    def __init__(self, request: web.Request, model: str, count: Callable[[str], int]) -> None:
        self.model = model
        self.sent = 0
        self.may_continue: asyncio.Event | None = None
        """If given, what follows the first word waits for it."""
        self._request = request
        self._count = count
        self._response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})

    async def open(self) -> web.StreamResponse:
        if not self._response.prepared:
            await self._response.prepare(self._request)
        return self._response

    async def raw(self, data: bytes) -> None:
        await (await self.open()).write(data)

    async def event(self, event: Mapping[str, Any]) -> None:
        await self.raw(b"data: " + json.dumps(event).encode() + b"\n\n")

    async def word(self, text: str, finish: str | None = None) -> None:
        chunk = filled(CONTRACT["chunk"], name=self.model, text=text)
        chunk["choices"][0]["finish_reason"] = finish
        self.sent += 1
        await self.event(chunk)

    async def end(self, prompt: str) -> None:
        chunk = filled(CONTRACT["usage chunk"], name=self.model)
        tokens = self._count(prompt)
        usage = {"prompt_tokens": tokens, "completion_tokens": self.sent, "total_tokens": tokens + self.sent}
        await self.event(chunk | {"usage": usage})
        await self.raw(CONTRACT["end"].encode())


class RemoteServer:
    """Answers in the words of its name, so that a reader knows which server and which version spoke."""

    def __init__(self, *, updates_adapters: bool = True, key: str = "") -> None:
        self.key = key
        self.updates_adapters = updates_adapters
        self.adapters: dict[str, str] = {}
        """{name: path} of those that are loaded."""
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.left = 0
        """Answers whose reader went away before their end."""
        self.faults: deque[Fault] = deque()
        """What happens to the next answers, one each."""
        self.always: Fault | None = None
        self.on_load: str | None = None
        """The name of the reply to any adapter, in place of loading it."""
        self.is_behind_proxy = False
        """If True, it restarts behind a proxy, which answers that it takes no adapter now."""
        self.applies_adapters = True
        """If False, it accepts adapters and answers as the bare base, as vLLM does if their names do not fit."""
        self.tells_log_probabilities = True
        self.is_healthy = True
        self.count: Callable[[str], int] = len
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> None:
        app = web.Application(middlewares=[self._require_key])
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/completions", self._complete)
        if self.updates_adapters:
            app.router.add_post("/v1/load_lora_adapter", self._load)
            app.router.add_post("/v1/unload_lora_adapter", self._unload)
        self._runner = web.AppRunner(app, shutdown_timeout=0.01, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def restart(self) -> None:
        """Come back at the same address with an empty memory."""
        port = int(self.url.rpartition(":")[2])
        await self.stop()
        self.adapters.clear()
        await self.start(port)

    def asked(self, path: str = "/v1/completions") -> list[dict[str, Any]]:
        """Return the bodies of its requests, except those that measured log-probabilities."""
        return [body for where, body in self.requests if where == path and "prompt_logprobs" not in body]

    def measured(self) -> list[str]:
        """Return the models whose log-probabilities were asked for."""
        return [body["model"] for _, body in self.requests if "prompt_logprobs" in body]

    @web.middleware
    async def _require_key(self, request: web.Request, handler: Any) -> web.StreamResponse:
        shown = request.headers.get("Authorization", "")
        if self.key and request.path.startswith("/v1") and shown != f"Bearer {self.key}":
            return reply("unauthorised")
        try:
            response: web.StreamResponse = await handler(request)
        except web.HTTPNotFound:
            return reply("no route")
        return response

    async def _read(self, request: web.Request) -> dict[str, Any]:
        """Return the body; every field of it must be in the contract, with its type."""
        body: dict[str, Any] = await request.json()
        known = CONTRACT["requests"][request.path]
        assert body.keys() <= known.keys(), f"vLLM does not know {body.keys() - known.keys()}"
        for name, value in body.items():
            assert isinstance(value, TYPES[known[name]]), f"{name} is {value!r}"
        self.requests.append((request.path, body))
        return body

    async def _health(self, _request: web.Request) -> web.StreamResponse:
        return reply("healthy") if self.is_healthy else web.Response(status=503)

    async def _models(self, _request: web.Request) -> web.StreamResponse:
        models = [filled(CONTRACT["model"], name=BASE_NAME, path="/models/base")]
        models += [
            filled(CONTRACT["adapter"], name=name, path=path, base=BASE_NAME) for name, path in self.adapters.items()
        ]
        return web.json_response({"object": "list", "data": models})

    async def _load(self, request: web.Request) -> web.StreamResponse:
        body = await self._read(request)
        name, path = body["lora_name"], body["lora_path"]
        if self.is_behind_proxy:
            return web.Response(status=502, text="<html><title>502 Bad Gateway</title></html>")
        if self.on_load:
            return reply(self.on_load, name=name, path=path)
        if name in self.adapters:
            return reply("loaded before", name=name)
        if not (Path(path) / "adapter_config.json").is_file():
            return reply("no adapter there", name=name, path=path)
        self.adapters[name] = path
        return reply("loaded", name=name)

    async def _unload(self, request: web.Request) -> web.StreamResponse:
        name = (await self._read(request))["lora_name"]
        if self.adapters.pop(name, None) is None:
            return reply("not loaded", name=name)
        return reply("unloaded", name=name)

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await self._read(request)
        model = body["model"]
        if "prompt_logprobs" in body:
            return self._measure(model, body["prompt"])
        fault = self.faults.popleft() if self.faults else self.always
        stream = Stream(request, model, self.count)
        if fault and (response := await fault(self, request, stream)) is not None:
            return response
        if not self._serves(model):
            return reply("unknown model", name=model)
        try:
            await self._say(stream, body)
        except (ConnectionResetError, asyncio.CancelledError):
            self.left += 1
            raise
        return await stream.open()

    def _serves(self, model: str) -> bool:
        return model == BASE_NAME or model in self.adapters

    def _measure(self, model: str, tokens: list[int]) -> web.Response:
        """Tell log-probabilities that an adapter changes as its record says, or by 0.5 nats without one."""
        if not self._serves(model):
            return reply("unknown model", name=model)
        told = filled(CONTRACT["completion"], name=model)
        logps = zip(tokens[1:], self._logps(model, tokens), strict=True)
        listed = [None, *({str(token): {"logprob": one, "rank": 1}} for token, one in logps)]
        told["choices"][0]["prompt_logprobs"] = listed if self.tells_log_probabilities else None
        return web.json_response(told)

    def _logps(self, model: str, tokens: list[int]) -> list[float]:
        base = [-1.0 - token % 7 for token in tokens[1:]]
        if model == BASE_NAME or not self.applies_adapters:
            return base
        effect = read_effect(folder) if (folder := Path(self.adapters[model])).exists() else None
        if effect is None:
            return [one + 0.5 for one in base]
        strength = float(model.partition("-x")[2] or 1)
        changes = zip(base, effect.version, effect.base, strict=True)
        return [one + strength * (now - before) for one, now, before in changes]

    async def _say(self, stream: Stream, body: dict[str, Any]) -> None:
        words = [f"{stream.model}: ", *WORDS][: body["max_tokens"]]
        is_cut = len(words) == body["max_tokens"]
        for word in words:
            await stream.word(word)
            if stream.may_continue:
                await stream.may_continue.wait()
        await stream.word("", "length" if is_cut else "stop")
        stream.sent -= is_cut
        await stream.end(body["prompt"])


def reply(name: str, /, **values: str) -> web.Response:
    recorded = filled(CONTRACT["replies"][name], **values)
    if "json" in recorded:
        return web.json_response(recorded["json"], status=recorded["status"])
    return web.Response(status=recorded["status"], text=recorded["text"])


def filled(recorded: Any, /, **values: str) -> Any:
    """Return what was recorded with the values in their places."""
    if isinstance(recorded, str):
        for name, value in values.items():
            recorded = recorded.replace(f"{{{name}}}", value)
        return recorded
    if isinstance(recorded, list):
        return [filled(one, **values) for one in recorded]
    return {key: filled(one, **values) for key, one in recorded.items()} if isinstance(recorded, dict) else recorded


# Faults


def waits_for(event: asyncio.Event) -> Fault:
    """The answer continues after its first word once the event is set."""

    async def wait(_server: RemoteServer, _request: web.Request, stream: Stream) -> None:
        stream.may_continue = event

    return wait


def fails_with(status: int, *, retry_after: str | None = None) -> Fault:
    async def fail(_server: RemoteServer, _request: web.Request, _stream: Stream) -> web.StreamResponse:
        headers = {"Retry-After": retry_after} if retry_after else {}
        return web.Response(status=status, text="broken", headers=headers)

    return fail


def dies_after(words: int) -> Fault:
    """The connection is reset in the middle of an answer."""

    async def die(_server: RemoteServer, request: web.Request, stream: Stream) -> web.StreamResponse:
        for word in WORDS[:words]:
            await stream.word(word)
        assert request.transport is not None
        request.transport.abort()
        return await stream.open()

    return die


def falls_silent_after(words: int) -> Fault:
    """The connection stays open, and nothing more comes: a hung server, or one whose cable was pulled."""

    async def fall_silent(server: RemoteServer, _request: web.Request, stream: Stream) -> web.StreamResponse:
        for word in WORDS[:words]:
            await stream.word(word)
        try:
            while True:
                await asyncio.sleep(0.02)
                if words:
                    await stream.raw(b": still here\n\n")  # as proxies do, which is no word
        except (ConnectionResetError, asyncio.CancelledError):
            server.left += 1
            raise

    return fall_silent


def says(*lines: bytes, words: int = 0) -> Fault:
    async def say(_server: RemoteServer, _request: web.Request, stream: Stream) -> web.StreamResponse:
        for word in WORDS[:words]:
            await stream.word(word)
        for line in lines:
            await stream.raw(line)
        return await stream.open()

    return say


@asynccontextmanager
async def running(server: RemoteServer) -> AsyncIterator[None]:
    await server.start()
    try:
        yield
    finally:
        await server.stop()

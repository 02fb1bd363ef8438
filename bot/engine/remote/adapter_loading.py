"""Loads versions into each kind of server, and selects one in a request."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from bot.engine import GenerationRequest
from bot.engine.remote.effect_checks import (
    MEASURING_S,
    EffectChecks,
    Encode,
    forcing,
    generated_log_probabilities,
    listed_log_probabilities,
)
from bot.model_server import (
    NOT_FOUND,
    Json,
    Overloaded,
    Refused,
    RefusedByServer,
    Server,
    ServerError,
    Slow,
    Unreachable,
)
from storage.adapters.folder_store import AdapterRef
from storage.adapters.shared_store import SERVED_PREFIX, ServedAdapterCopies, open_served_copies, served_name
from storage.errors import AdapterError
from storage.models.chat_format import ChatFormat
from storage.models.gguf import gguf_name
from storage.settings.sections import RemoteSettings, Settings

log = logging.getLogger(__name__)

LOADING_S = 120.0
ALREADY_LOADED = "already been loaded"
NO_ROUTE = "Not Found"
NO_UPDATES = "accepts no versions: start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"
IGNORED_NAMES = (
    "vLLM ignores what does not fit its own names in an adapter (its issues 34186, 41754 and 34591); serve this base "
    "with another release of it, or with another engine (docs/remote.md)"
)
WRONG_FILE = "write its file again with `reactune model gguf`, and restart llama-server with it and with this base"
MOST_STOPS = 4
"""OpenAI's maximum number of stop texts."""

Fields = dict[str, Any]


def versions_of(server: Server, settings: Settings, encode: Encode) -> Versions:
    """Return the `Versions` for the configured kind of server; `encode` is model.base's tokenizer."""
    remote = settings.remote
    if remote.kind == "vllm":
        copies = open_served_copies(settings.data.directory)
        return VllmVersions(server, remote, copies, encode, settings.model.resident_adapters)
    return LlamaCppVersions(server, remote, encode) if remote.kind == "llama.cpp" else Versions(server, remote)


class Versions:
    """The versions that the server has. This is any server of OpenAI's completions API: only the base answers."""

    wants_tokens = False
    """Whether a prompt is sent as tokens instead of text."""

    def __init__(self, server: Server, settings: RemoteSettings) -> None:
        self.server = server
        self.models: tuple[str, ...] = ()
        """Models that the server lists, its own first."""
        self.loaded: OrderedDict[str, None] = OrderedDict()
        """Versions that were loaded at run time, least recently used first."""
        self.reads_otherwise = False
        """Whether the log already says that the server's token counts differ from ours."""
        self._settings = settings

    @asynccontextmanager
    async def naming(self, adapter: AdapterRef | None) -> AsyncIterator[Fields]:
        """Yield the fields of a request that select the version, which stays loaded in the meantime.

        Raises RefusedByServer if the server cannot get it or does not answer as it, and ServerError.
        """
        if adapter is not None:
            raise RefusedByServer(
                self.server.url,
                'serves only the base, because remote.kind = "openai" supports no versions: roll back to base, or '
                "serve the model with vLLM or llama.cpp (docs/remote.md)",
            )
        yield {"model": self.base_name()}

    def sampling(self, request: GenerationRequest, chat: ChatFormat) -> Fields:
        """Return the fields for sampling and stopping."""
        return _common(request) | {"stop": list(chat.ends.values())[:MOST_STOPS]}

    def found(self, models: Sequence[str]) -> None:
        """Note the server's list of models, when it answers at first or again."""
        self.models = tuple(models)

    def forget(self, adapter: AdapterRef) -> None:
        """Note that the server does not have the version: it was restarted."""

    def base_name(self) -> str:
        return self._settings.model or (self.models[0] if self.models else "")


class VllmVersions(Versions):
    """vLLM loads and unloads adapters at run time, and answers with the one that a request names as its model."""

    def __init__(
        self, server: Server, settings: RemoteSettings, copies: ServedAdapterCopies, encode: Encode, most_loaded: int
    ) -> None:
        super().__init__(server, settings)
        self._most_loaded = most_loaded
        self._copies = copies
        self._checks = EffectChecks(server.url, encode, IGNORED_NAMES)
        self._in_use: Counter[str] = Counter()
        """{version: number of answers in progress}"""
        self._loading = asyncio.Lock()

    @asynccontextmanager
    async def naming(self, adapter: AdapterRef | None) -> AsyncIterator[Fields]:
        if adapter is None:
            yield {"model": self.base_name()}
            return
        name = served_name(adapter)
        self._in_use[name] += 1
        try:
            await self._require_loaded(adapter, name)
            yield {"model": name}
        finally:
            self._in_use[name] -= 1

    def sampling(self, request: GenerationRequest, chat: ChatFormat) -> Fields:
        # vLLM leaves special tokens out of the text, and with them the borders of a thought.
        markers = {"skip_special_tokens": False} if chat.special_markers else {}
        return (
            _common(request)
            | markers
            | {
                "add_special_tokens": False,
                "stop_token_ids": sorted(chat.end_ids),
                # Otherwise the model's own generation settings would apply.
                "top_k": -1,
                "min_p": 0.0,
                "repetition_penalty": 1.0,
            }
        )

    def found(self, models: Sequence[str]) -> None:
        # Another bot, or a previous run of this one, may have loaded versions; a restart loses all.
        super().found(models)
        listed = [name for name in models if name.startswith(SERVED_PREFIX)]
        self.loaded = OrderedDict.fromkeys([*(name for name in self.loaded if name in listed), *listed])
        self._checks.forget()

    def forget(self, adapter: AdapterRef) -> None:
        self._unloaded(served_name(adapter))

    def _unloaded(self, name: str) -> None:
        self.loaded.pop(name, None)
        self._checks.forget(name)

    async def _require_loaded(self, adapter: AdapterRef, name: str) -> None:
        async with self._loading:
            if name not in self.loaded:
                await self._make_room()
                await self._load(adapter, name)
            self.loaded[name] = None
            self.loaded.move_to_end(name)
            # Also if another bot loaded it, or this one before a restart.
            await self._checks.require(adapter, self._measure)

    async def _measure(self, adapter: AdapterRef | None, tokens: Sequence[int]) -> list[float]:
        body = {
            "model": served_name(adapter) if adapter else self.base_name(),
            "prompt": list(tokens),
            "max_tokens": 1,
            "temperature": 0.0,
            "prompt_logprobs": 1,
        }
        reply = await self.server.post("/v1/completions", body, MEASURING_S)
        return listed_log_probabilities(reply, tokens, self.server.url)

    async def _load(self, adapter: AdapterRef, name: str) -> None:
        try:
            path = await asyncio.to_thread(self._copies.put, adapter)
        except AdapterError as error:
            raise RefusedByServer(self.server.url, f"cannot get {name}: {error}") from error
        seen = f"{self._settings.adapter_path.rstrip('/')}/{path.name}" if self._settings.adapter_path else str(path)
        body = {"lora_name": name, "lora_path": seen}
        try:
            await self.server.post("/v1/load_lora_adapter", body, LOADING_S)
        except (Overloaded, Unreachable, Slow):
            raise
        except ServerError as error:  # vLLM replies 500 if it cannot load a version
            message = error.message if isinstance(error, Refused) else error.what
            if ALREADY_LOADED not in message:
                raise RefusedByServer(self.server.url, _remedy(message, name, seen)) from error
        log.info("%s loaded %s.", self.server.url, name)

    async def _make_room(self) -> None:
        """Unload the least recently used idle versions until there is room for another one."""
        idle = [name for name in self.loaded if not self._in_use[name]]
        for name in idle[: max(0, len(self.loaded) + 1 - self._most_loaded)]:
            try:
                await self.server.post("/v1/unload_lora_adapter", {"lora_name": name}, LOADING_S)
            except Refused as error:
                if error.status != NOT_FOUND:
                    raise
            self._unloaded(name)
            log.info("%s unloaded %s.", self.server.url, name)


def _remedy(message: str, name: str, path: str) -> str:
    if message == NO_ROUTE:
        return NO_UPDATES
    return (
        f"cannot load {name} from {path} ({message}): give it access to the folder `served` in the data folder, set "
        "remote.adapter_path to its path there, and start vLLM with --max-lora-rank of at least training.lora_rank"
    )


class LlamaCppVersions(Versions):
    """llama.cpp's server gets adapters at its start; each request sets the strength of each adapter."""

    wants_tokens = True  # the server would add its own first token to text

    def __init__(self, server: Server, settings: RemoteSettings, encode: Encode) -> None:
        super().__init__(server, settings)
        self._checks = EffectChecks(server.url, encode, WRONG_FILE)
        self._checking = asyncio.Lock()
        self._files: frozenset[tuple[int, str]] = frozenset()
        """Numbers and paths of the adapters that the server was started with."""

    @asynccontextmanager
    async def naming(self, adapter: AdapterRef | None) -> AsyncIterator[Fields]:
        # Listed before every answer: after a restart with other files, a number means another version. The server
        # replies once it has read what it is reading, which can be the long prompt of another answer.
        listed = await self.server.get("/lora-adapters", self._settings.first_token_timeout_s) or []
        if adapter is not None:
            async with self._checking:
                files = frozenset((entry["id"], str(entry.get("path", ""))) for entry in listed)
                if files != self._files:
                    self._files = files
                    self._checks.forget()
                await self._checks.require(adapter, partial(self._measure, listed))
        yield {"model": self.base_name()} | self._selecting(adapter, listed)

    def found(self, models: Sequence[str]) -> None:
        super().found(models)
        self._checks.forget()

    async def _measure(self, listed: Sequence[Json], adapter: AdapterRef | None, tokens: Sequence[int]) -> list[float]:
        body = self._selecting(adapter, listed) | {
            "prompt": [tokens[0]],
            "n_predict": len(tokens) - 1,
            "temperature": 0.0,
            "n_probs": 1,
            "grammar": forcing(tokens[1:]),
        }
        reply = await self.server.post("/completion", body, MEASURING_S)
        return generated_log_probabilities(reply, tokens, self.server.url)

    def _selecting(self, adapter: AdapterRef | None, listed: Sequence[Json]) -> Fields:
        """Return the fields that select the version; raises RefusedByServer if the server lacks it."""
        strengths = {entry["id"]: 0.0 for entry in listed}
        if adapter is not None:
            numbers = [int(entry["id"]) for entry in listed if is_file_of(adapter, entry)]
            if not numbers:
                raise version_missing(self.server.url, adapter)
            strengths[numbers[0]] = adapter.strength
        # Every adapter is listed, also with 0: one that a request omits has its strength from the server's start.
        lora = [{"id": number, "scale": strength} for number, strength in strengths.items()]
        # The cache does not record which adapter filled it (llama.cpp issue 26207, open).
        return {"lora": lora, "cache_prompt": not lora}

    def sampling(self, request: GenerationRequest, chat: ChatFormat) -> Fields:
        markers = {"preserved_tokens": list(chat.special_markers)} if chat.special_markers else {}
        return (
            _common(request)
            | markers
            | {
                "stop": list(chat.ends.values()),
                "top_k": 0,
                "min_p": 0.0,
                "repeat_penalty": 1.0,
                "repeat_last_n": request.sampling.max_new_tokens,
            }
        )


def is_file_of(adapter: AdapterRef, entry: Json) -> bool:
    """Return whether an adapter listed by llama.cpp's server is this version; it reports only the file's name."""
    path = str(entry.get("path", ""))
    name = PureWindowsPath(path).name if "\\" in path else PurePosixPath(path).name
    return Path(gguf_name(adapter)).stem in name


def version_missing(url: str, adapter: AdapterRef) -> RefusedByServer:
    name = gguf_name(adapter)
    return RefusedByServer(
        url,
        f"has no adapter {Path(name).stem}: write it with `reactune model gguf`, and restart llama-server with "
        f"`--lora FOLDER/{name} --lora-init-without-apply`",
    )


def _common(request: GenerationRequest) -> Fields:
    sampling = request.sampling
    return {
        "max_tokens": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "presence_penalty": sampling.presence_penalty,
        "seed": request.seed,
        "stream": True,
        "stream_options": {"include_usage": True},
    }

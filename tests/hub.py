"""A hub on loopback that speaks what huggingface_hub asks: repositories, trees, files in parts, gates and faults."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

COMMIT = "c0ffee" + "0" * 34
TOKEN = "hf_of_a_test"
INVALID_TOKEN = "Invalid credentials in Authorization header"


@dataclass
class FakeHub:
    """`url` is the value for HF_ENDPOINT."""

    url: str = ""
    folders: dict[str, Path] = field(default_factory=dict)
    """Files by hub ID."""
    gated: set[str] = field(default_factory=set)
    """Only whoever sends TOKEN may read the files."""
    commit: str = COMMIT
    """Of the main branch; files can be had at any."""
    refusal: tuple[int, str] | None = None
    """Status and text that answer every question about a repository."""
    bytes_left: int | None = None
    """Of weights, before every connection ends."""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, file and range of each request for weights."""

    def add(self, hub_id: str, folder: Path) -> None:
        self.folders[hub_id] = folder

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/api/models/{owner}/{name}", self._describe)
        app.router.add_get("/api/models/{owner}/{name}/revision/{revision}", self._describe)
        app.router.add_get("/api/models/{owner}/{name}/tree/{revision}", self._list)
        app.router.add_get("/{owner}/{name}/resolve/{revision}/{file}", self._send)
        return app

    def _files(self, request: web.Request) -> list[Path]:
        hub_id = f"{request.match_info['owner']}/{request.match_info['name']}"
        if hub_id not in self.folders:
            raise web.HTTPUnauthorized(headers={"X-Error-Code": "RepoNotFound"})
        if hub_id in self.gated and "resolve" in request.path:
            sent = request.headers.get("Authorization", "")
            if sent != f"Bearer {TOKEN}":
                raise (web.HTTPForbidden if sent else web.HTTPUnauthorized)(headers={"X-Error-Code": "GatedRepo"})
        return sorted(path for path in self.folders[hub_id].iterdir() if path.is_file())

    async def _describe(self, request: web.Request) -> web.Response:
        if self.refusal is not None:
            status, text = self.refusal
            message = {"X-Error-Message": INVALID_TOKEN} if status == web.HTTPUnauthorized.status_code else {}
            return web.Response(status=status, text=text, headers=message)
        files = [{"rfilename": path.name, "size": path.stat().st_size} for path in self._files(request)]
        hub_id = f"{request.match_info['owner']}/{request.match_info['name']}"
        commit = self._commit_in(request)
        return web.json_response({"id": hub_id, "modelId": hub_id, "sha": commit, "siblings": files, "tags": []})

    def _commit_in(self, request: web.Request) -> str:
        asked = request.match_info.get("revision", "main")
        return self.commit if asked == "main" else asked

    async def _list(self, request: web.Request) -> web.Response:
        entries = [
            {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": "0" * 40}
            for path in self._files(request)
        ]
        return web.json_response(entries)

    async def _send(self, request: web.Request) -> web.StreamResponse:
        path = next((path for path in self._files(request) if path.name == request.match_info["file"]), None)
        if path is None:
            missing = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": self._commit_in(request)}
            raise web.HTTPNotFound(headers=missing)
        content = path.read_bytes()
        is_weights = path.suffix == ".safetensors"
        if is_weights:
            self.asked.append((request.method, path.name, request.headers.get("Range", "")))
        start = request.http_range.start or 0
        etag = hashlib.sha256(content).hexdigest() if is_weights else hashlib.sha1(content).hexdigest()
        commit, size = self._commit_in(request), str(len(content) - start)
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit, "Content-Length": size}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        if is_weights and self.bytes_left is not None:
            await response.write(content[start : start + self.bytes_left])
            self.bytes_left = 0
            assert request.transport is not None
            request.transport.close()
            return response
        await response.write(content[start:])
        return response


@contextlib.contextmanager
def serving_hub() -> Iterator[FakeHub]:
    """Serve an empty hub from a thread."""
    hub, loop, started = FakeHub(), asyncio.new_event_loop(), threading.Event()

    async def start() -> web.AppRunner:
        runner = web.AppRunner(hub.app())
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        hub.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        started.set()
        return runner

    def run() -> None:
        runner = loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())

    thread = threading.Thread(target=run, name="hub")
    thread.start()
    started.wait()
    try:
        yield hub
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

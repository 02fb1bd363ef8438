from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from tests.advisories import has_advisories


class _Service(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/known" else 404)
        self.end_headers()
        self.wfile.write(json.dumps({"vulnerabilities": []} if self.path == "/known" else {}).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_the_service_is_asked_before_anything_is_audited() -> None:
    with HTTPServer(("127.0.0.1", 0), _Service) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert has_advisories(f"{address}/known")
        assert not has_advisories(f"{address}/unknown")
        server.shutdown()
    assert not has_advisories(f"{address}/known")


def test_a_silent_service_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not has_advisories(f"http://127.0.0.1:{silent.getsockname()[1]}/", patience_s=0.2)

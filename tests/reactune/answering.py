"""An HTTP server that answers the same to everything."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler


class Answering(BaseHTTPRequestHandler):
    said = ""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.said.encode())

    def log_message(self, *_: object) -> None:
        pass

# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A vault server that answers what a test tells it to; the real one is in tests/integration."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

HEALTHY = 200, {"cluster_id": "c", "sealed": False}
ENGINE = (200, {"data": {"type": "kv", "options": {"version": "2"}}})


@dataclass
class Request:
    """What came: method, path below /v1/ without its query, headers, JSON."""

    method: str
    path: str
    headers: dict
    body: object


@dataclass
class ScriptedServer:
    """Answers every request with ``answer(request)``: status and JSON (or a location, or text), or None to cut it off.

    Attributes:
        health: what ``sys/health`` answers.
        engine: what it answers to who asks for the kind of an engine.
        requests: all but those for health and engine.
    """

    answer: object
    certificate: tuple = ()
    health: tuple = HEALTHY
    engine: tuple = ENGINE
    requests: list = field(default_factory=list)

    def __enter__(self):
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_exception):
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self):
        return self._server.server_address[1]

    @property
    def url(self):
        return f"{'https' if self.certificate else 'http'}://127.0.0.1:{self.port}"

    def count(self, path):
        return sum(one.path == path for one in self.requests)

    def _handler(self):
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def handle_one(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                path = urlsplit(self.path).path.removeprefix("/v1/")
                if path == "sys/health":
                    self.reply(*script.health)
                    return
                if path.startswith("sys/internal/ui/mounts/"):
                    self.reply(*script.engine)
                    return
                request = Request(self.command, path, dict(self.headers), body)
                script.requests.append(request)
                answer = script.answer(request)
                if answer is None:
                    self.close_connection = True
                else:
                    self.reply(*answer)

            do_GET = do_POST = do_PUT = do_LIST = handle_one

            def reply(self, status, body):
                if isinstance(body, Iterator):
                    self.send_response(status)
                    self.end_headers()
                    self.close_connection = True
                    with contextlib.suppress(OSError):
                        for part in body:
                            self.wfile.write(part)
                    return
                content = b"" if isinstance(body, str) else json.dumps(body).encode()
                self.send_response(status)
                if isinstance(body, str):
                    self.send_header("Location", body)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_arguments):
                return

        return Handler


def hang(seconds):
    time.sleep(seconds)

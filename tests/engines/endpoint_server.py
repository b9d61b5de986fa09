"""An OpenAI-compatible server in a thread, for tests: it answers, fails, is slow or says nothing, as it is told."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, dict[str, Any]]


def said(text: str | None, *, finish: str = "stop", tokens: int | None = None) -> Reply:
    """A good answer."""
    count = tokens if tokens is not None else len((text or "").split())
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}
    return 200, {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "tiny-2026",
        "system_fingerprint": "fp_1",
        "choices": [choice],
        "usage": {"prompt_tokens": 7, "completion_tokens": count, "total_tokens": 7 + count},
    }


def failed(status: int, words: str) -> Reply:
    """An error of the endpoint."""
    return status, {"error": {"message": words, "type": "error", "code": None, "param": None}}


@dataclass
class Server:
    """What the server does and what it has seen.

    Attributes:
        reply: from the request's body to an answer.
        url: its address.
        seen: bodies of completion requests, in order. keys: their authorization headers.
        most: most requests that were under way at once.
    """

    reply: Callable[[dict[str, Any]], Reply]
    url: str = ""
    seen: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    most: int = 0
    now: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def asked(self) -> list[str]:
        """The last turn of each request."""
        return [b["messages"][-1]["content"] for b in self.seen]


@contextmanager
def serving(reply: Callable[[dict[str, Any]], Reply], *, delay: float = 0.0) -> Iterator[Server]:
    """A running server; `delay` seconds pass before each answer."""
    server = Server(reply)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send((200, {"object": "list", "data": [{"id": "tiny", "object": "model"}]}))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with server.lock:
                server.seen.append(body)
                server.keys.append(self.headers.get("Authorization", ""))
                server.now += 1
                server.most = max(server.most, server.now)
            time.sleep(delay)
            with server.lock:
                server.now -= 1
            self._send(server.reply(body))

        def _send(self, reply: Reply) -> None:
            data = json.dumps(reply[1]).encode()
            try:
                self.send_response(reply[0])
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                if reply[0] == 429:
                    self.send_header("Retry-After", "0.05")
                self.end_headers()
                self.wfile.write(data)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client gave up waiting, which is what the test is about

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        server.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()

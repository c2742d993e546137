"""A server that sends exactly the bytes it is given, for answers that no HTTP library would make."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

Pieces = Iterable[bytes]
Answer = Callable[[str, dict[str, str]], Pieces]
"""Path with its query, headers by their lower-case names -> what is sent, piece by piece; then the connection ends."""


class RawServer:
    """Answers one request a connection. ``requests`` holds each path with its headers."""

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None = None) -> None:
        self.answer, self.tls = answer, tls
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.socket.getsockname()[1]}"

    def stop(self) -> None:
        self.socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: Any) -> None:
        try:
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            with connection:
                head = b""
                while b"\r\n\r\n" not in head:
                    received = connection.recv(1 << 16)
                    if not received:
                        return
                    head += received
                first, *lines = head.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                path = first.split(" ")[1]
                self.requests.append((path, headers))
                for piece in self.answer(path, headers):
                    connection.sendall(piece)
        except OSError:
            pass  # clients that give up are part of the tests


def head(status: str = "200 OK", *lines: str | bytes) -> bytes:
    """Status line and headers."""
    encoded = [line.encode("latin-1") if isinstance(line, str) else line for line in lines]
    return b"\r\n".join([f"HTTP/1.1 {status}".encode(), *encoded, b"Connection: close", b"", b""])


def trickle(content: bytes, pause_s: float) -> Pieces:
    """One byte at a time."""
    for index in range(len(content)):
        yield content[index : index + 1]
        time.sleep(pause_s)

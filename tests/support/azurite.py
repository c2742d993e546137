"""Azurite, Microsoft's own emulator of Azure Storage, installed once and started on loopback for the tests."""

from __future__ import annotations

import datetime
import re
import shutil
import subprocess
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from filelock import FileLock

from tests.support.servers import Trouble

VERSION = "3.35.0"
ACCOUNT = "devstoreaccount1"
# The key that Azurite's documentation publishes: it opens nothing but an emulator.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
INSTALLED = Path(__file__).parents[2] / "node_modules" / ".azurite"
"""Below a folder that git ignores, so that the next run need not install it again."""


def main_file() -> Path:
    """Azurite's program; installed where it is not yet. Skips the test without Node or a registry."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        pytest.skip("needs Node and npm for the Azure Storage emulator")
    main = INSTALLED / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    try:
        INSTALLED.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        pytest.skip(f"cannot install the Azure Storage emulator: {error}")
    with FileLock(INSTALLED / "install.lock"):  # two workers need it
        if not main.is_file():
            words = [npm, "install", "--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--prefix"]
            done = subprocess.run(
                [*words, str(INSTALLED), f"azurite@{VERSION}"], capture_output=True, text=True, timeout=280, check=False
            )
            if done.returncode or not main.is_file():
                pytest.skip(f"cannot install the Azure Storage emulator: {done.stderr.strip()[-200:]}")
    return main


@dataclass
class Azurite:
    """A running emulator, reached through a proxy that can inject faults."""

    url: str
    proxy: Proxy

    def connection_string(self, rights: str = "rl", days: float = 1.0) -> str:
        """A connection string with an account's signature, as a dataset's page publishes it."""
        from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

        signature = generate_account_sas(
            ACCOUNT,
            KEY,
            ResourceTypes(service=True, container=True, object=True),
            AccountSasPermissions.from_string(rights),
            expiry=datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days),
        )
        return f"BlobEndpoint={self.proxy.url}/{ACCOUNT};SharedAccessSignature={signature}"

    def service(self) -> Any:
        """A client with all rights, to fill the emulator."""
        from azure.storage.blob import BlobServiceClient

        return BlobServiceClient(f"{self.url}/{ACCOUNT}", credential={"account_name": ACCOUNT, "account_key": KEY})


def start() -> tuple[subprocess.Popen[str], Azurite]:
    """Start the emulator and its proxy on free ports."""
    options = ["--silent", "--loose", "--skipApiVersionCheck", "--disableTelemetry", "--inMemoryPersistence"]
    process = subprocess.Popen(
        [shutil.which("node") or "node", str(main_file()), *options, "--blobHost", "127.0.0.1", "--blobPort", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    for line in process.stdout:
        match = re.search(r"successfully listens on (http://127\.0\.0\.1:\d+)", line)
        if match:
            threading.Thread(target=lambda: [None for _ in process.stdout or ()], daemon=True).start()
            return process, Azurite(match[1], Proxy(match[1]))
    pytest.skip("the Azure Storage emulator does not start here")


class Proxy(ThreadingHTTPServer):
    """Passes requests on to Azurite, which cannot throttle or break by itself.

    ``troubles`` are used up in order by requests whose path contains their key; each blob waits for ``pause_s``.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = behind
        self.troubles: dict[str, list[Trouble]] = {}
        self.requests: list[tuple[str, str]] = []
        self.sent = 0
        self.pause_s = 0.0
        self.lock = threading.Lock()
        self.session = requests.Session()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that break the connection are part of the tests."""

    def take_trouble(self, path: str) -> Trouble:
        with self.lock:
            for key, waiting in self.troubles.items():
                if key in path and waiting:
                    return waiting.pop(0)
        return Trouble()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def log_message(self, *words: Any) -> None:
        pass

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.requests.append((self.command, self.path))
        trouble = self.server.take_trouble(self.path)
        if trouble.status:
            self._head(trouble.status, {**trouble.headers, "Content-Length": "0"})
            return
        if "comp=" not in self.path:
            threading.Event().wait(self.server.pause_s)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        got = self.server.session.request(self.command, self.server.behind + self.path, headers=headers)
        content = got.content
        kept = {n: v for n, v in got.headers.items() if n.lower() not in ("connection", "keep-alive", "date", "server")}
        kept.pop("Transfer-Encoding", None)
        if self.command != "HEAD":
            kept["Content-Length"] = str(len(content))
        self._head(got.status_code, kept)
        if self.command == "HEAD":
            return
        body = bytearray(content)
        if trouble.flip is not None and body:
            body[trouble.flip % len(body)] ^= 0xFF
        stop = len(body) if trouble.cut_after is None else trouble.cut_after
        self.wfile.write(body[:stop])
        with self.server.lock:
            self.server.sent += min(stop, len(body))
        if trouble.stall_s:
            threading.Event().wait(trouble.stall_s)
        if stop < len(body):
            self.close_connection = True

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

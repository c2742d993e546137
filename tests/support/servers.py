"""HTTP servers on loopback that behave like the places data come from, and misbehave on request.

A :class:`Server` serves files with ranges, ETags and redirects; :class:`Trouble` objects put on a path are used up one
a request. What was asked and how many bytes were sent is kept for the tests to count.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

UUID = "11111111-2222-3333-4444-{:012d}"


@dataclass
class Trouble:
    """One misbehaviour.

    Attributes:
        status: answer with this status and no content.
        headers: sent in addition.
        cut_after: close the connection after so many bytes of the body.
        flip: offset in the file of a byte that is sent wrong.
        no_ranges: ignore the Range header.
        shift: send the range from so many bytes later than asked.
        stall_s: send half of the body, then nothing for so long.
        etag: say that the file has this ETag.
        trickle_s: pause after each 64 kB.
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    flip: int | None = None
    no_ranges: bool = False
    shift: int = 0
    stall_s: float = 0.0
    etag: str | None = None
    trickle_s: float = 0.0


@dataclass
class Request:
    """A request as it came, and what was sent for it."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    sent: int = 0
    body: bytes = b""


@dataclass
class File:
    """Content with its ETag (quoted or not, as it shall be sent)."""

    content: bytes
    etag: str | None = None


class Server(ThreadingHTTPServer):
    """Files under their paths; subclasses add the interfaces of real places in :meth:`answer`."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, File] = {}
        self.troubles: dict[str, list[Trouble]] = defaultdict(list)
        self.always: dict[str, Trouble] = {}
        self.requests: list[Request] = []
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def put(self, path: str, content: bytes, etag: str | None = None) -> None:
        self.files[path] = File(content, etag)

    def trouble(self, path: str, *troubles: Trouble) -> None:
        self.troubles[path] += troubles

    def sent(self, path: str = "") -> int:
        """Bytes of content sent for paths that contain ``path``."""
        with self.lock:
            return sum(request.sent for request in self.requests if path in request.path)

    def count(self, path: str = "") -> int:
        with self.lock:
            return sum(path in request.path for request in self.requests)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that break the connection are part of the tests."""

    def answer(self, request: Request) -> tuple[int, dict[str, str], Any] | None:
        """Status, headers and JSON (or bytes) for what is not a plain file; None to look among the files."""
        return None

    def next_trouble(self, request: Request) -> Trouble:
        with self.lock:
            waiting = self.troubles.get(request.path)
            return waiting.pop(0) if waiting else self.always.get(request.path) or self.always.get("*") or Trouble()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *words: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._serve(with_body=True)

    def do_HEAD(self) -> None:
        self._serve(with_body=False)

    def do_PUT(self) -> None:
        self._serve(with_body=False)

    def do_POST(self) -> None:
        self._serve(with_body=True)

    do_DELETE = do_PUT

    def _body(self) -> bytes:
        if self.command not in ("POST", "PUT"):
            return b""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _serve(self, with_body: bool) -> None:
        address = urlsplit(self.path)
        headers = dict(self.headers.items())
        request = Request(self.command, address.path, parse_qs(address.query), headers, body=self._body())
        with self.server.lock:
            self.server.requests.append(request)
        trouble = self.server.next_trouble(request)
        if trouble.status:
            self._head(trouble.status, {**trouble.headers, "Content-Length": "0"})
            return
        answer = self.server.answer(request)
        if answer is not None:
            status, headers, content = answer
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self._head(status, {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers})
            if with_body:
                self.wfile.write(body)
            return
        file = self.server.files.get(request.path)
        if file is None:
            self._head(404, {"Content-Length": "0"})
            return
        self._send_file(request, file, trouble, with_body)

    def _send_file(self, request: Request, file: File, trouble: Trouble, with_body: bool) -> None:
        size = len(file.content)
        match = re.match(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        start, end = 0, size
        headers = {"ETag": trouble.etag or file.etag, **trouble.headers}
        if match and not trouble.no_ranges:
            start = int(match[1]) + trouble.shift
            end = min(size, int(match[2]) + 1) if match[2] else size
            if start >= size:
                self._head(416, {"Content-Length": "0"})
                return
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        headers["Content-Length"] = str(end - start)
        self._head(206 if "Content-Range" in headers else 200, {k: v for k, v in headers.items() if v})
        if with_body:
            self._send(request, file.content, start, end, trouble)

    def _send(self, request: Request, content: bytes, start: int, end: int, trouble: Trouble) -> None:
        stop = end if trouble.cut_after is None else min(end, start + trouble.cut_after)
        middle = start + (stop - start) // 2
        position = start
        while position < stop:
            upto = min(stop, position + (1 << 16))
            if trouble.stall_s and position < middle < upto:
                upto = middle
            piece = bytearray(content[position:upto])
            if trouble.flip is not None and position <= trouble.flip < upto:
                piece[trouble.flip - position] ^= 0xFF
            with self.server.lock:
                request.sent += len(piece)  # before a client can have it, and be done
            try:
                self.wfile.write(piece)
            except OSError:
                with self.server.lock:
                    request.sent -= len(piece)
                self.close_connection = True
                return
            position = upto
            if trouble.trickle_s:
                time.sleep(trouble.trickle_s)
            if trouble.stall_s and position == middle:
                time.sleep(trouble.stall_s)
                self.close_connection = True
                return
        if stop < end:
            self.close_connection = True

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


class FakeHub(Server):
    """A Hugging Face Hub with one repository, large files behind a redirect to a store with signed addresses."""

    COMMIT = "c0ffee" * 6 + "c0ff"

    def __init__(self, repository: str, kind: str = "dataset") -> None:
        self.repository, self.kind = repository, kind
        self.content: dict[str, bytes] = {}
        self.signature = "first"
        super().__init__()

    def add(self, name: str, content: bytes) -> None:
        self.content[name] = content
        self.put(f"/store/{name}", content, '"the-stores-own"')

    def answer(self, request: Request) -> tuple[int, dict[str, str], Any] | None:
        plural = f"{self.kind}s"
        api = f"/api/{plural}/{self.repository}"
        web = f"/{plural}/{self.repository}" if self.kind == "dataset" else f"/{self.repository}"
        if request.path in (api, f"{api}/revision/main", f"{api}/revision/{self.COMMIT}"):
            return 200, {}, {"id": self.repository, "sha": self.COMMIT, "siblings": [], "private": False, "tags": []}
        if request.path == f"{api}/tree/{self.COMMIT}":
            return 200, {}, [_tree_item(name, content) for name, content in sorted(self.content.items())]
        resolve = f"{web}/resolve/{self.COMMIT}/"
        if request.path.startswith(resolve):
            name = request.path[len(resolve) :]
            return 302, {"Location": f"http://localhost:{self.server_port}/store/{name}?sig={self.signature}"}, b""
        if request.path.startswith("/store/") and request.query.get("sig") != [self.signature]:
            return 403, {}, b""
        return None if request.path.startswith("/store/") else (404, {}, b"")


class UploadHub(FakeHub):
    """A Hub that takes uploads of models: small files in the commit, large ones (LFS) in a store beforehand."""

    def __init__(self, repository: str) -> None:
        self.is_made = False
        self.stored: dict[str, bytes] = {}
        super().__init__(repository, "model")

    def answer(self, request: Request) -> tuple[int, dict[str, str], Any] | None:
        api = f"/api/models/{self.repository}"
        given = json.loads(request.body) if request.body[:1] == b"{" and request.body.count(b"\n") < 2 else {}
        if request.method == "POST" and request.headers.get("authorization") != "Bearer hf_" + "w" * 20:
            return 401, {}, {"error": "no"}
        if request.path == "/api/repos/create":
            self.is_made = True
            return 200, {}, {"url": f"{self.url}/{self.repository}"}
        if request.path == "/api/validate-yaml":
            return 200, {}, {"errors": [], "warnings": []}
        if request.path == f"{api}/preupload/main":
            modes = {
                one["path"]: "lfs" if one["path"].endswith(".safetensors") else "regular" for one in given["files"]
            }
            files = [{"path": name, "uploadMode": mode, "shouldIgnore": False} for name, mode in modes.items()]
            return 200, {}, {"files": files}
        if request.path == f"/{self.repository}.git/info/lfs/objects/batch":
            objects = [
                {**one, "actions": {"upload": {"href": f"http://localhost:{self.server_port}/put/{one['oid']}"}}}
                for one in given["objects"]
            ]
            return 200, {}, {"transfer": "basic", "objects": objects}
        if request.method == "PUT":
            self.stored[request.path.rpartition("/")[2]] = request.body
            return 200, {}, b""
        if request.path == f"{api}/commit/main":
            self._commit([json.loads(line) for line in request.body.splitlines()])
            return (
                200,
                {},
                {
                    "success": True,
                    "commitOid": self.COMMIT,
                    "commitUrl": f"{self.url}/{self.repository}/commit/{self.COMMIT}",
                },
            )
        return super().answer(request) if self.is_made else (404, {}, {"error": "Repository not found"})

    def _commit(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.add(value["path"], base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                self.add(value["path"], self.stored[value["oid"]])


def _tree_item(name: str, content: bytes) -> dict[str, Any]:
    item: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": git_hash(content)}
    if name.endswith((".zip", ".pth")):
        item["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return item


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class FakeDSpace(Server):
    """A DSpace 7 with one item; it sends pages of ``page`` bitstreams, whatever size is asked for."""

    HANDLE, ITEM, BUNDLE = "20.500.11850/701146", UUID.format(1), UUID.format(2)

    def __init__(self, page: int = 3) -> None:
        self.page = page
        self.names: list[str] = []
        self.sizes: list[int] = []
        self.checksums: list[str] = []
        super().__init__()

    def add(self, name: str, content: bytes) -> None:
        md5 = hashlib.md5(content).hexdigest()
        self.put(f"/server/api/core/bitstreams/{UUID.format(100 + len(self.names))}/content", content, md5)
        self.names.append(name)
        self.sizes.append(len(content))
        self.checksums.append(md5)

    def path_of(self, name: str) -> str:
        return f"/server/api/core/bitstreams/{UUID.format(100 + self.names.index(name))}/content"

    def answer(self, request: Request) -> tuple[int, dict[str, str], Any] | None:
        core = "/server/api/core"
        if request.path == "/server/api/pid/find":
            if request.query["id"][0] == f"hdl:{self.HANDLE}":
                return 302, {"Location": f"{self.url}{core}/items/{self.ITEM}"}, b""
            return 404, {}, b""
        if request.path == f"{core}/items/{self.ITEM}":
            return 200, {}, {"uuid": self.ITEM, "type": "item"}
        if request.path == f"{core}/items/{self.ITEM}/bundles":
            bundles = [{"name": "LICENSE", "uuid": UUID.format(3)}, {"name": "ORIGINAL", "uuid": self.BUNDLE}]
            return 200, {}, {"_embedded": {"bundles": bundles}, "_links": {}}
        if request.path == f"{core}/bundles/{self.BUNDLE}/bitstreams":
            return 200, {}, self._page(int(request.query["page"][0]))
        return None

    def _page(self, number: int) -> dict[str, Any]:
        indices = range(len(self.names))[number * self.page : (number + 1) * self.page]
        more = (number + 1) * self.page < len(self.names)
        following = f"{self.url}/server/api/core/bundles/{self.BUNDLE}/bitstreams?page={number + 1}&size={self.page}"
        return {
            "_embedded": {"bitstreams": [self._bitstream(index) for index in indices]},
            "_links": {"next": {"href": following}} if more else {},
        }

    def _bitstream(self, index: int) -> dict[str, Any]:
        uuid = UUID.format(100 + index)
        return {
            "uuid": uuid,
            "name": self.names[index],
            "sizeBytes": self.sizes[index],
            "checkSum": {"checkSumAlgorithm": "MD5", "value": self.checksums[index]},
            "_links": {"content": {"href": f"{self.url}/server/api/core/bitstreams/{uuid}/content"}},
        }


class FakeGitHub(Server):
    """GitHub's interface and its raw files: repositories of one commit each, which also is the newest."""

    COMMIT, TREE = "2b35e34" + "0" * 33, "f" * 40

    def __init__(self, repository: str) -> None:
        self.repository = repository
        self.content: dict[str, dict[str, bytes]] = {repository: {}}
        super().__init__()

    def add(self, name: str, content: bytes, repository: str = "") -> None:
        self.content.setdefault(repository or self.repository, {})[name] = content
        self.put(self.path_of(name, repository), content, f'W/"{hashlib.md5(content).hexdigest()}"')

    def path_of(self, name: str, repository: str = "") -> str:
        return f"/raw/{repository or self.repository}/{self.COMMIT}/{quote(name)}"

    def answer(self, request: Request) -> tuple[int, dict[str, str], Any] | None:
        match = re.fullmatch(r"/api/repos/([^/]+/[^/]+)/(?:commits/(.+)|git/trees/(.+))", request.path)
        if match is None or match[1] not in self.content:
            return None
        if match[2] and re.fullmatch(r"2b35e34|HEAD|[0-9a-f]{40}", match[2]):
            return 200, {}, {"sha": self.COMMIT, "commit": {"tree": {"sha": self.TREE}}}
        if match[3] == self.TREE:
            tree = [
                {"path": name, "type": "blob", "size": len(content), "sha": git_hash(content)}
                for name, content in self.content[match[1]].items()
            ]
            return 200, {}, {"tree": [{"path": "csv_files", "type": "tree", "sha": "0"}, *tree]}
        return None

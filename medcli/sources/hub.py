"""Hugging Face Hub: lists with huggingface_hub at one commit, reads bytes with the client of all sources."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from medcli.core.errors import DataError
from medcli.transfer.http import Http, HttpBody, checked_address, fault_for, host_of, words_for
from medcli.transfer.protocol import Broken, Refused, RemoteFile

T = TypeVar("T")
_DEFAULT_ENDPOINT = "https://huggingface.co"
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


class HubRepository:
    """One repository at one commit; see :class:`medcli.transfer.protocol.RemoteSource`.

    Args:
        repository: ``owner/name``.
        kind: ``dataset`` or ``model``.
        revision: branch, tag or commit; it is resolved to a commit once, and that is what is read and recorded.

    The endpoint is ``HF_ENDPOINT``; a token that the user has set up for huggingface_hub is sent to it, and to nobody
    else. The signed address behind a large file is kept until it is refused, since the Hub counts anonymous look-ups.
    """

    one_credential = True

    def __init__(self, repository: str, kind: str, revision: str, http: Http) -> None:
        self.repository, self.kind, self.http = repository, kind, http
        self.endpoint = checked_address(os.environ.get("HF_ENDPOINT") or _DEFAULT_ENDPOINT, "HF_ENDPOINT")
        if any(os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE") for name in _OFFLINE):
            raise DataError(f"{_OFFLINE[0]} is set, so nothing is fetched from the Hub", f"unset {_OFFLINE[0]}")
        info = self._insist(lambda api: api.repo_info(repository, repo_type=kind, revision=revision, timeout=30))
        self.commit: str = info.sha
        self.address = f"{self._web()}@{self.commit}"
        self._signed: dict[str, str] = {}
        self._lock = threading.Lock()

    def list(self) -> Iterator[RemoteFile]:
        items = self._insist(
            lambda api: [
                *api.list_repo_tree(self.repository, recursive=True, revision=self.commit, repo_type=self.kind)
            ]
        )
        for item in items:
            if getattr(item, "size", None) is not None:
                checksum = f"sha256:{item.lfs.sha256}" if item.lfs else f"git:{item.blob_id}"
                yield RemoteFile(item.path, item.size, checksum)

    @contextmanager
    def open(self, entry: RemoteFile, offset: int, length: int | None = None) -> Iterator[HttpBody]:
        known = self._signed.get(entry.name)
        if known:
            try:
                with self.http.open(known, offset, length) as body:
                    yield self._plain(body)
                    return
            except Refused:
                with self._lock:
                    self._signed.pop(entry.name, None)  # the signature has run out: ask for another
        url = f"{self._web()}/resolve/{self.commit}/{quote(entry.name)}"
        with self.http.open(url, offset, length, self._headers()) as body:
            self._remember(entry.name, body.response.url)
            yield self._plain(body)

    def refresh(self, entry: RemoteFile) -> RemoteFile:
        """The same entry: a commit does not change."""
        return entry

    def _plain(self, body: HttpBody) -> HttpBody:
        body.tag = None  # the ETags of the store behind the Hub are not the ones listed; the commit is the version
        return body

    def _remember(self, name: str, url: str) -> None:
        if urlsplit(url).netloc != urlsplit(self.endpoint).netloc:
            with self._lock:
                self._signed[name] = url

    def _web(self) -> str:
        return f"{self.endpoint}/{'datasets/' if self.kind == 'dataset' else ''}{self.repository}"

    def _headers(self) -> dict[str, str]:
        from huggingface_hub.utils import build_hf_headers

        headers = build_hf_headers()
        return {name: value for name, value in headers.items() if name.lower() == "authorization"}

    def _insist(self, action: Callable[[Any], T]) -> T:
        return self.http.patience.insist(lambda: self._call(action))

    def _call(self, action: Callable[[Any], T]) -> T:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError

        host = host_of(self.endpoint)
        try:
            return action(HfApi(endpoint=self.endpoint))
        except HfHubHTTPError as error:
            response = error.response
            if response is None:
                raise Broken(f"{host} cannot be reached") from None
            code = response.status_code
            what = f"{host} answered {code} for {self.kind} {self.repository}"
            raise fault_for(code, what, response.headers) from None
        except Exception as error:
            if not _is_of_network(error):
                raise
            raise Broken(f"{host} {words_for(error)}") from None


def _is_of_network(error: Exception) -> bool:
    """Whether huggingface_hub's HTTP library raised ``error``; which library that is depends on its version."""
    modules = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return isinstance(error, OSError) or bool(modules & {"httpx", "httpx2", "httpcore", "requests", "urllib3"})

"""Hugging Face Hub at one commit, by its HTTP interface; the token is the one set up for huggingface_hub.

huggingface_hub's own listing sends the token to whatever address the server names as the next page, so it is not used.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

from medcli.core.errors import DataError, UsageError
from medcli.core.secrets import hide_values
from medcli.sources.answers import (
    GIT_HASH,
    SHA256,
    TEXT,
    Check,
    check_answer,
    is_list,
    is_name,
    is_object,
    is_size,
    pages,
    within,
)
from medcli.transfer.addresses import checked_address, part_of_address, server_of
from medcli.transfer.http import Http, HttpBody, JsonAnswer
from medcli.transfer.protocol import Missing, Refused, RemoteFile

_DEFAULT_ENDPOINT = "https://huggingface.co"
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_COMMIT = is_object({"sha": GIT_HASH})
_TREE = is_list(is_object({"path": is_name, "type": TEXT}))
_FILE = is_object({"size": is_size, "oid": GIT_HASH}, {"lfs": is_object({"oid": SHA256})})
_TOKEN = re.compile(r"[!-~]+")


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
        self.api = f"{self.endpoint}/api/{kind}s/{repository}"
        found = self._get(f"{self.api}/revision/{part_of_address(revision, '--revision', '')}", _COMMIT)
        self.commit: str = found.content["sha"]
        self.address = f"{self._web()}@{self.commit}"
        self._signed: dict[str, str] = {}
        self._lock = threading.Lock()

    def list(self) -> Iterator[RemoteFile]:
        for page in pages(
            lambda address: self._get(address, _TREE),
            f"{self.api}/tree/{self.commit}?recursive=true&expand=false",
            lambda page: len(page.content),
            lambda page: page.following,
        ):
            for item in page.content:
                if item["type"] == "file":
                    check_answer(item, _FILE, page.address)
                    sha256 = within(item, "lfs", "oid")
                    yield RemoteFile(item["path"], item["size"], f"sha256:{sha256}" if sha256 else f"git:{item['oid']}")

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
        with self.http.open(url, offset, length, self._token_for(url)) as body:
            self._remember(entry.name, body.response.url)
            yield self._plain(body)

    def refresh(self, entry: RemoteFile) -> RemoteFile:
        """The same entry: a commit does not change."""
        return entry

    def _plain(self, body: HttpBody) -> HttpBody:
        body.tag = None  # the ETags of the store behind the Hub are not the ones listed; the commit is the version
        return body

    def _remember(self, name: str, url: str) -> None:
        if server_of(url) != server_of(self.endpoint):
            with self._lock:
                self._signed[name] = url

    def _web(self) -> str:
        return f"{self.endpoint}/{'datasets/' if self.kind == 'dataset' else ''}{self.repository}"

    def _get(self, url: str, shape: Check) -> JsonAnswer:
        try:
            answer = self.http.json(url, self._token_for(url))
        except (Missing, Refused) as fault:
            raise type(fault)(f"{fault} for {self.kind} {self.repository}") from None
        check_answer(answer.content, shape, answer.address)
        return answer

    def _token_for(self, url: str) -> dict[str, str]:
        """The header with the user's token, if there is one and ``url`` is the endpoint's.

        Raises:
            UsageError: the token cannot be sent; it is not repeated.
        """
        if server_of(url) != server_of(self.endpoint):
            return {}
        from huggingface_hub import constants, get_token  # its headers would ask the endpoint for what is not needed

        hint = "check HF_TOKEN, or log in again with `hf auth login`; public files need no token"
        try:
            token = (not constants.HF_HUB_DISABLE_IMPLICIT_TOKEN and get_token()) or ""
        except Exception as error:  # a file that is not text, a login that has run out: whatever that library knows
            raise UsageError(f"the Hugging Face token cannot be read ({type(error).__name__})", hint) from None
        hide_values(token)
        if token and not _TOKEN.fullmatch(token):
            raise UsageError("the Hugging Face token has signs that no token has (blanks, accents, line ends)", hint)
        return {"authorization": f"Bearer {token}"} if token else {}

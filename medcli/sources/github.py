"""Files of a GitHub repository at one commit; git's own content hashes are their checksums."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from urllib.parse import quote

from medcli.transfer.http import Http, HttpBody, checked_address
from medcli.transfer.protocol import RemoteFile

API, RAW = "MEDCLI_GITHUB_API_URL", "MEDCLI_GITHUB_RAW_URL"


class GitHubFiles:
    """The files below ``folder``; see :class:`medcli.transfer.protocol.RemoteSource`.

    ``MEDCLI_GITHUB_API_URL`` and ``MEDCLI_GITHUB_RAW_URL`` name a mirror.
    """

    one_credential = False

    def __init__(self, repository: str, revision: str, folder: str, http: Http) -> None:
        self.repository, self.folder, self.http = repository, folder, http
        self.api = checked_address(os.environ.get(API) or "https://api.github.com", API)
        self.raw = checked_address(os.environ.get(RAW) or "https://raw.githubusercontent.com", RAW)
        commit = http.json(f"{self.api}/repos/{repository}/commits/{quote(revision)}")
        self.commit, self._tree = str(commit["sha"]), str(commit["commit"]["tree"]["sha"])
        self.address = f"https://github.com/{repository}@{self.commit}"

    def list(self) -> Iterator[RemoteFile]:
        tree = self.http.json(f"{self.api}/repos/{self.repository}/git/trees/{self._tree}?recursive=1")
        for item in tree["tree"]:
            if item["type"] == "blob" and item["path"].startswith(f"{self.folder}/"):
                yield RemoteFile(item["path"], int(item["size"]), f"git:{item['sha']}")

    def open(self, entry: RemoteFile, offset: int, length: int | None = None) -> AbstractContextManager[HttpBody]:
        return self.http.open(f"{self.raw}/{self.repository}/{self.commit}/{quote(entry.name)}", offset, length)

    def refresh(self, entry: RemoteFile) -> RemoteFile:
        """The same entry: a commit does not change."""
        return entry

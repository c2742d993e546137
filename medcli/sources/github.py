"""Files of a GitHub repository at one commit; git's own content hashes are their checksums."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from urllib.parse import quote

from medcli.core.errors import DataError
from medcli.sources.answers import GIT_HASH, TEXT, check_answer, is_list, is_name, is_object, is_size, within
from medcli.transfer.addresses import checked_address
from medcli.transfer.http import Http, HttpBody
from medcli.transfer.protocol import RemoteFile

_COMMIT = is_object({"sha": GIT_HASH, "commit": is_object({"tree": is_object({"sha": GIT_HASH})})})
_TREE = is_object({"tree": is_list(is_object({"path": is_name, "type": TEXT}))})
_FILE = is_object({"size": is_size, "sha": GIT_HASH})
API, RAW = "MEDCLI_GITHUB_API_URL", "MEDCLI_GITHUB_RAW_URL"


class GitHubFiles:
    """The files below ``folder`` (empty: all); see :class:`medcli.transfer.protocol.RemoteSource`.

    ``MEDCLI_GITHUB_API_URL`` and ``MEDCLI_GITHUB_RAW_URL`` name a mirror.
    """

    one_credential = False

    def __init__(self, repository: str, revision: str, folder: str, http: Http) -> None:
        self.repository, self.folder, self.http = repository, folder, http
        self.api = checked_address(os.environ.get(API) or "https://api.github.com", API)
        self.raw = checked_address(os.environ.get(RAW) or "https://raw.githubusercontent.com", RAW)
        commit = http.json(f"{self.api}/repos/{repository}/commits/{quote(revision)}")
        check_answer(commit.content, _COMMIT, commit.address)
        self.commit, self._tree = commit.content["sha"], within(commit.content, "commit", "tree", "sha")
        self.address = f"https://github.com/{repository}@{self.commit}"

    def list(self) -> Iterator[RemoteFile]:
        tree = self.http.json(f"{self.api}/repos/{self.repository}/git/trees/{self._tree}?recursive=1")
        check_answer(tree.content, _TREE, tree.address)
        if tree.content.get("truncated"):
            raise DataError(f"{self.address} has more files than GitHub lists", "clone it with git")
        below = f"{self.folder}/" if self.folder else ""
        for item in tree.content["tree"]:
            if item["type"] == "blob" and item["path"].startswith(below):
                check_answer(item, _FILE, tree.address)
                yield RemoteFile(item["path"], item["size"], f"git:{item['sha']}")

    def open(self, entry: RemoteFile, offset: int, length: int | None = None) -> AbstractContextManager[HttpBody]:
        return self.http.open(f"{self.raw}/{self.repository}/{self.commit}/{quote(entry.name)}", offset, length)

    def refresh(self, entry: RemoteFile) -> RemoteFile:
        """The same entry: a commit does not change."""
        return entry

"""Azure Blob Storage: lists and authenticates with azure-storage-blob, reads bytes with the client of all sources."""

from __future__ import annotations

import datetime
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote

from medcli.core.errors import DataError, UsageError
from medcli.core.secrets import hide_values_in
from medcli.sources.answers import Check, Listing, check_answer, is_name, is_object, is_size, is_text
from medcli.sources.azure_connection import Connection
from medcli.transfer.addresses import host_of
from medcli.transfer.http import Http, HttpBody, fault_for, words_for
from medcli.transfer.protocol import Broken, Fault, Refused, RemoteFile, Unexpected

T = TypeVar("T")
_PAGE = 5000
_SIGNED_FOR = datetime.timedelta(days=7)
_CONTAINER = r"\$?[a-z0-9-]{1,63}"
_BLOB = is_object(
    {"name": is_name, "size": is_size, "etag": is_text(r"\S+", "an ETag")},
    {"md5": is_text(r"[0-9a-f]{32}", "an MD5 (16 bytes)")},
)


class AzureBlobs:
    """One container; see :class:`medcli.transfer.protocol.RemoteSource`.

    Only reads: the SDK sends through the same session as :class:`Http`, which knows no other request than GET and
    HEAD. With an account key, a signature that allows reading and listing only is made and the key is let go.
    """

    one_credential = True

    def __init__(self, connection: Connection, container: str, http: Http, prefixes: Sequence[str] = ("",)) -> None:
        if container and not re.fullmatch(_CONTAINER, container):
            # What was given is not repeated: it may be an address with its signature.
            raise UsageError(
                "what was given as the container's name is none", "it has 3 to 63 lowercase letters, digits and hyphens"
            )
        self.connection = reading_only(connection)
        self.container = container
        self.http = http
        self.prefixes = prefixes
        self.address = f"{connection.endpoint}/{container}"

    def list(self) -> Iterator[RemoteFile]:
        client = self._service().get_container_client(self.container)
        for prefix in self.prefixes:
            for blob in self._pages(
                lambda p=prefix, **at: client.list_blobs(name_starts_with=p, results_per_page=_PAGE)
            ):
                entry = self._entry(blob)
                if not entry.name.endswith("/"):
                    yield entry

    def folders(self, prefix: str) -> Sequence[str]:
        """The folders directly below ``prefix``, each with its path and a final ``/``."""
        client = self._service().get_container_client(self.container)
        items = self._pages(lambda: client.walk_blobs(name_starts_with=prefix, delimiter="/", results_per_page=_PAGE))
        return [name for item in items if (name := self._name(item, is_name)).endswith("/")]

    def containers(self) -> Sequence[str]:
        """Names of the account's containers."""
        return [
            self._name(item, is_text(_CONTAINER, "the name of a container"))
            for item in self._pages(lambda: self._service().list_containers())
        ]

    @contextmanager
    def open(self, entry: RemoteFile, offset: int, length: int | None = None) -> Iterator[HttpBody]:
        url = f"{self.address}/{quote(entry.name)}?{self.connection.signature}"
        try:
            with self.http.open(url, offset, length, {"If-Match": f'"{entry.tag}"'} if entry.tag else None) as body:
                yield body
        except Refused as fault:
            raise self._explained(fault) from None

    def refresh(self, entry: RemoteFile) -> RemoteFile:
        client = self._service().get_blob_client(self.container, entry.name)
        properties = self.http.retry_policy.call(lambda: self._call(client.get_blob_properties))
        return self._entry(properties)

    def _entry(self, blob: Any) -> RemoteFile:
        md5 = blob.content_settings.content_md5 if blob.content_settings else None
        found = {"name": blob.name, "size": blob.size, "etag": blob.etag, "md5": bytes(md5).hex() if md5 else None}
        check_answer(found, _BLOB, self.address)
        return RemoteFile(blob.name, blob.size, f"md5:{found['md5']}" if md5 else None, blob.etag.strip('"'))

    def _name(self, item: Any, shape: Check) -> str:
        name: str = check_answer(item.name, shape, self.address)
        return name

    def _explained(self, fault: Refused) -> Refused:
        """A refusal, with the reason that the connection string itself gives for it, if it does."""
        try:
            self.connection.check_usable()
        except DataError as reason:
            return Refused(f"{fault}; {reason.message}")
        return fault

    def _pages(self, start: Callable[[], Any]) -> Iterator[Any]:
        """Items of all pages; a page that fails is asked for again, and not the whole listing."""
        token: str | None = None
        listing = Listing(self.address)
        while True:
            pages = start().by_page(token) if token else start().by_page()
            page = self.http.retry_policy.call(lambda pages=pages: self._call(lambda: list(next(pages))))  # type: ignore[misc]
            listing.turn(token or "", len(page))
            yield from page
            token = pages.continuation_token
            if not token:
                return

    def _call(self, action: Callable[[], T]) -> T:
        from azure.core import exceptions

        host = host_of(self.connection.endpoint)
        try:
            return action()
        except exceptions.HttpResponseError as error:
            raise self._fault(error) from None
        except exceptions.AzureError as error:
            raise Broken(f"{host} {words_for(error)}") from None
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            # What the SDK raises when the answer is not what it takes for granted.
            raise Unexpected(f"{host} does not answer as Azure Storage does ({type(error).__name__})") from None

    def _fault(self, error: Any) -> Fault:
        """The fault behind an SDK error, whose own text and request carry the signature."""
        code = getattr(error, "error_code", None)
        code = getattr(code, "value", code)
        said = f"{host_of(self.connection.endpoint)} answered {error.status_code}" + (f" ({code})" if code else "")
        if error.status_code == 200:
            said += ", but not as Azure Storage does"
        headers = error.response.headers if error.response is not None else {}
        fault = fault_for(error.status_code or 500, said, headers)
        return self._explained(fault) if isinstance(fault, Refused) else fault

    def _service(self) -> Any:
        from azure.core.pipeline.transport import RequestsTransport
        from azure.storage.blob import BlobServiceClient

        logging.getLogger("azure").setLevel(logging.CRITICAL + 1)  # what matters is raised, and reported once
        return BlobServiceClient(
            account_url=self.connection.endpoint,
            credential=self.connection.signature,
            transport=RequestsTransport(session=self.http.session, session_owner=False),
            retry_total=0,
            permit_redirects=False,
            connection_timeout=self.http.retry_policy.connect_s,
            read_timeout=self.http.retry_policy.stall_s,
        )


def reading_only(connection: Connection) -> Connection:
    """The connection as it is when it has a signature; with an account key, one whose signature can only read."""
    if connection.signature:
        return connection
    from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

    try:
        signature = generate_account_sas(
            connection.account,
            connection.key,
            ResourceTypes(service=True, container=True, object=True),
            AccountSasPermissions(read=True, list=True),
            expiry=datetime.datetime.now(datetime.timezone.utc) + _SIGNED_FOR,
        )
    except Exception:
        raise DataError("the AccountKey of the connection string is damaged") from None
    hide_values_in([signature])
    return Connection(connection.endpoint, connection.account, signature, container=connection.container)

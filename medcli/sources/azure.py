"""Azure Blob Storage: lists and authenticates with azure-storage-blob, reads bytes with the client of all sources."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar
from urllib.parse import quote

from medcli.core.errors import DataError
from medcli.sources.azure_connection import Connection
from medcli.transfer.http import Http, HttpBody, fault_for, host_of
from medcli.transfer.protocol import Broken, Fault, RemoteFile

T = TypeVar("T")
_PAGE = 5000
_SIGNED_FOR = datetime.timedelta(days=7)


class AzureBlobs:
    """One container; see :class:`medcli.transfer.protocol.RemoteSource`.

    Only reads: the SDK sends through the same session as :class:`Http`, which knows no other request than GET and
    HEAD. With an account key, a signature that allows reading and listing only is made and the key is let go.
    """

    one_credential = True

    def __init__(self, connection: Connection, container: str, http: Http, prefixes: Sequence[str] = ("",)) -> None:
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
                if not blob.name.endswith("/"):
                    yield _entry(blob)

    def folders(self, prefix: str) -> Sequence[str]:
        """The folders directly below ``prefix``, each with its path and a final ``/``."""
        client = self._service().get_container_client(self.container)
        items = self._pages(lambda: client.walk_blobs(name_starts_with=prefix, delimiter="/", results_per_page=_PAGE))
        return [item.name for item in items if item.name.endswith("/")]

    def containers(self) -> Sequence[str]:
        """Names of the account's containers."""
        return [container.name for container in self._pages(lambda: self._service().list_containers())]

    def open(self, entry: RemoteFile, offset: int, length: int | None = None) -> AbstractContextManager[HttpBody]:
        url = f"{self.address}/{quote(entry.name)}?{self.connection.signature}"
        return self.http.open(url, offset, length, {"If-Match": f'"{entry.tag}"'} if entry.tag else None)

    def refresh(self, entry: RemoteFile) -> RemoteFile:
        client = self._service().get_blob_client(self.container, entry.name)
        properties = self.http.patience.insist(lambda: self._call(client.get_blob_properties))
        return _entry(properties)

    def _pages(self, start: Callable[[], Any]) -> Iterator[Any]:
        """Items of all pages; a page that fails is asked for again, and not the whole listing."""
        token: str | None = None
        while True:
            pages = start().by_page(token) if token else start().by_page()
            page = self.http.patience.insist(lambda pages=pages: self._call(lambda: list(next(pages))))  # type: ignore[misc]
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
        except exceptions.AzureError:
            raise Broken(f"{host} cannot be reached") from None

    def _fault(self, error: Any) -> Fault:
        """The fault behind an SDK error, whose own text and request carry the signature."""
        code = getattr(error, "error_code", None)
        code = getattr(code, "value", code)
        said = f"{host_of(self.connection.endpoint)} answered {error.status_code}" + (f" ({code})" if code else "")
        headers = error.response.headers if error.response is not None else {}
        return fault_for(error.status_code or 500, said, headers)

    def _service(self) -> Any:
        from azure.core.pipeline.transport import RequestsTransport
        from azure.storage.blob import BlobServiceClient

        return BlobServiceClient(
            account_url=self.connection.endpoint,
            credential=self.connection.signature,
            transport=RequestsTransport(session=self.http.session, session_owner=False),
            retry_total=0,
            connection_timeout=self.http.patience.connect_s,
            read_timeout=self.http.patience.stall_s,
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
    return Connection(connection.endpoint, connection.account, signature, container=connection.container)


def _entry(blob: Any) -> RemoteFile:
    md5 = blob.content_settings.content_md5 if blob.content_settings else None
    return RemoteFile(blob.name, blob.size, f"md5:{bytes(md5).hex()}" if md5 else None, blob.etag.strip('"'))

"""Connections of urllib3 that tell a failed handshake from a broken answer, and limit the time of an answer's head."""

from __future__ import annotations

import io
import ssl
import time
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any

import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from airflow_provider_hubprefs.hubspot.transport.environment import TrustError

if TYPE_CHECKING:
    import socket


class HandshakeError(OSError):
    """TLS was not agreed on, for a reason that may pass; the request was not sent."""


class _Timed(io.RawIOBase):
    """A socket's stream until the head of an answer is whole: the socket's own time-out begins anew with every byte."""

    def __init__(self, stream: io.BufferedReader, seconds: float | None) -> None:
        self._stream = stream.detach()
        self.until = None if seconds is None else time.monotonic() + seconds

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what has arrived, in time."""
        if self.until is not None and time.monotonic() > self.until:
            raise TimeoutError("the head of the answer takes too long")
        return self._stream.readinto(buffer)

    def close(self) -> None:
        """Close the socket's stream."""
        self._stream.close()
        super().close()


class _Response(HTTPResponse):
    """An answer whose head comes within the read time-out."""

    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self._timed = _Timed(self.fp, sock.gettimeout())
        self.fp = io.BufferedReader(self._timed)

    def begin(self) -> None:
        """Read the head."""
        super().begin()
        self._timed.until = None  # the body has a limit of its own


class _Connection(HTTPConnection):
    response_class = _Response


class _TlsConnection(HTTPSConnection):
    response_class = _Response

    def connect(self) -> None:
        """Connect, and agree on TLS."""
        try:
            super().connect()
        except ssl.SSLCertVerificationError:
            raise
        except urllib3.exceptions.SSLError as error:  # nothing else raises it here
            raise TrustError("the certificates to trust cannot be read") from error
        except (ssl.SSLError, ConnectionError, TimeoutError) as error:
            raise HandshakeError("no handshake") from error


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS = {"http": _Pool, "https": _TlsPool}


class Adapter(HTTPAdapter):
    """Uses these connections, also through a proxy."""

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """See the base class."""
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """See the base class."""
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = _POOLS
        return manager

"""An answer's body while it is read: unpacked piece by piece, and limited in bytes."""

from __future__ import annotations

import zlib

from airflow_provider_hubprefs.hubspot.errors import MalformedAnswerError

ACCEPT_ENCODING = "gzip"
PIECE = 64 * 1024
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_PACKED = frozenset({ACCEPT_ENCODING, "x-gzip", "deflate"})
"""Proxies repack answers without being asked to."""


class Body:
    """Takes the pieces of a body as they come over the wire.

    Libraries unpack a whole piece at once, however much that is: a thousand times its size.

    :param limit: bytes, unpacked.
    :param what: the call, for the text.
    :param status: of the answer.
    :param encoding: the answer's Content-Encoding.
    :raises MalformedAnswerError: an encoding that was not asked for.
    """

    def __init__(self, limit: int, *, what: str, status: int, encoding: str) -> None:
        self._limit, self._what, self._status = limit, what, status
        self._pieces: list[bytes] = []
        self._size = 0
        encoding = encoding.strip().lower()
        if encoding not in {"", "identity", *_PACKED}:
            raise MalformedAnswerError(
                f"HubSpot's answer to {what} has an encoding that was not asked for", status=status
            )
        self._unpacker = zlib.decompressobj(_GZIP_OR_ZLIB) if encoding in _PACKED else None

    def add(self, piece: bytes) -> None:
        """Take a piece.

        :raises MalformedAnswerError: the body is longer than the limit.
        :raises zlib.error: the piece is not packed so.
        """
        if self._unpacker is None:
            self._take(piece)
            return
        while piece:
            self._take(self._unpacker.decompress(piece, PIECE))
            piece = self._unpacker.unconsumed_tail

    def whole(self) -> bytes:
        """All of it, unpacked."""
        return b"".join(self._pieces)

    def _take(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._limit:
            raise MalformedAnswerError(
                f"HubSpot's answer to {self._what} is longer than {self._limit} bytes; it was not read to its "
                "end. Use smaller batches, or raise max_answer_bytes in the connection's extra",
                status=self._status,
            )
        self._pieces.append(piece)

"""Masked forms and fingerprints of addresses: what logs, XComs and error texts may show instead of them."""

from __future__ import annotations

import hashlib
import logging
import re

# Anything around an "@" (or its percent-encoded form), quoted local parts with spaces included. Greedy on
# purpose: a word too much masked costs nothing, an address left over does.
_ADDRESS = re.compile(r"""(?:"[^"]*"|[^\s"<>()\[\]{},;=])*(?:@|%40)[^\s"'<>()\[\]{},;]*""", re.IGNORECASE)
_TRAILING = ".:!?"


def mask(address: str) -> str:
    """Masked form of an address, for people: ``jane@example.com`` becomes ``j***@e***.com``.

    Text that is no address becomes ``***``.

    :param address: an e-mail address, or any text.
    """
    local, at, domain = address.strip().rpartition("@")
    if not (local and at and domain):
        return "***"
    name, dot, top = domain.rpartition(".")
    return f"{local[0]}***@{(name or top)[0]}***{dot}{top if dot else ''}"


def scrub(text: str) -> str:
    """Return ``text`` with everything that looks like an address masked.

    HubSpot's own messages name addresses (``x@y is already unsubscribed``), and so do URLs.

    :param text: free text; percent-encoded addresses are found too.
    """

    def masked(found: re.Match[str]) -> str:
        word = found.group()
        body = word.rstrip(_TRAILING)
        return mask(re.sub("%40", "@", body, flags=re.IGNORECASE)) + word[len(body) :]

    return _ADDRESS.sub(masked, text)


def fingerprint(value: str, *, key: str | bytes) -> str:
    """Keyed fingerprint: equal values under an equal key give equal text, and nobody can go back.

    Addresses are few enough to try them all, so an unkeyed hash would not hide them.

    :param value: an address, a token, a path.
    :param key: a secret of the caller's; at most its first 64 bytes count.
    :return: 32 hexadecimal digits.
    """
    secret = key.encode() if isinstance(key, str) else key
    return hashlib.blake2b(value.encode(), key=secret[:64], digest_size=16).hexdigest()


class MaskedPaths(logging.Filter):
    """Masks addresses in the records of an HTTP library, which logs the paths it asks for (DEBUG)."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record's text; never drops one."""
        text = record.getMessage()
        if "@" in text or "%40" in text:
            record.msg, record.args = scrub(text), ()
        return True


def mask_paths_logged_by(logger_name: str) -> None:
    """Attach :class:`MaskedPaths` to a logger, once.

    :param logger_name: for instance ``urllib3.connectionpool``.
    """
    logger = logging.getLogger(logger_name)
    if not any(isinstance(known, MaskedPaths) for known in logger.filters):
        logger.addFilter(MaskedPaths())

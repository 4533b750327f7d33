"""Masked, fingerprinted and encrypted forms of addresses, for logs, XComs, error texts and stored arguments."""

from __future__ import annotations

import base64
import hashlib
import logging
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

_AT_FORMS = (
    r"%(?:25)*40|&#0*64;|&#x0*40;|&commat;|\\u0040|\\x40|[\uff20\ufe6b]|=40(?=[a-z0-9.-]{1,80}\.[a-z]{2})"
)
_AT = re.compile(_AT_FORMS, re.IGNORECASE)
"""An "@" as URLs (also encoded twice), HTML, JSON, other widths and quoted-printable have it."""

# A word: what can stand around an "@", quoted local parts with spaces included. Every word is looked at once,
# whether it has an "@" or not, so that the time grows with the text and not with its square. Greedy on purpose:
# a word too much masked costs nothing, an address left over does.
_WORD = re.compile(rf"""(?:"(?:[^"\\]|\\.){{0,128}}"(?=@|{_AT_FORMS})|[^\s"<>()])+""", re.IGNORECASE)
_SEPARATORS = r"[],;:\\"
_AFTER_DOMAIN = re.compile(r"[\[\],;:\\]")
_TRAILING = ".!?"


def mask(address: str) -> str:
    """Masked form of an address, for people: ``jane@example.com`` becomes ``j***@e***.com``.

    Text that is no address becomes ``***``.

    :param address: an e-mail address, or any text.
    """
    local, at, domain = address.strip().rpartition("@")
    if not (local and at and domain):
        return "***"
    name, dot, top = domain.rpartition(".")
    return f"{_first(local)}***@{_first(name or top)}***{dot}{top if dot else ''}"


def _first(part: str) -> str:
    """The first of several letters: of one there would be nothing left to hide."""
    return part[:1] if len(part) > 1 else ""


def scrub(text: str) -> str:
    """Return ``text`` with everything that looks like an address masked.

    HubSpot's own messages name addresses (``x@y is already unsubscribed``), and so do URLs.

    :param text: free text; addresses encoded as in URLs, HTML or JSON are found too. Of a local part with bare spaces
        only the last word is.
    """

    def masked(found: re.Match[str]) -> str:
        word = found.group()
        plain = _AT.sub("@", word)
        if "@" not in plain:
            return word
        local, _, after = plain.rpartition("@")
        end = _AFTER_DOMAIN.search(after)
        domain, rest = (after[: end.start()], after[end.start() :]) if end else (after, "")
        address = local.lstrip(_SEPARATORS)
        before = local[: len(local) - len(address)]
        body = f"{address}@{domain}".rstrip(_TRAILING)
        dots = domain[len(domain.rstrip(_TRAILING)) :]
        return f"{before}{mask(body)}{dots}{rest}"

    return _WORD.sub(masked, text)


def shown(value: object) -> str:
    """A wrong argument for an error text, with addresses masked: the author may have swapped two arguments."""
    return scrub(repr(value))


class Printed(str):
    """Text that is printed as it is, where a value's printed form is asked for."""

    __slots__ = ()
    __repr__ = str.__str__


def fingerprint(value: str, *, key: str | bytes) -> str:
    """Keyed fingerprint: equal values and keys give equal text, which cannot be turned back.

    An unkeyed hash would not hide addresses: there are few enough to try them all.

    :param value: an address, a token, a path.
    :param key: a secret of the caller's; at most its first 64 bytes count.
    :return: 32 hexadecimal digits.
    :raises ValueError: the key is empty.
    """
    secret = key.encode() if isinstance(key, str) else key
    if not secret:
        raise ValueError(
            "fingerprint: expected a key, got an empty one; without a key anyone can find the value by trying"
        )
    digest = hashlib.blake2b(value.encode(errors="surrogatepass"), key=secret[:64], digest_size=16)
    return digest.hexdigest()


def encrypt_address(address: str, *, key: str) -> str:
    """Encrypt an address that others can read where it is stored.

    :param key: a secret, such as the token that worker and triggerer both have.
    :return: ASCII; different every time.
    """
    return _fernet(key).encrypt(address.encode()).decode()


def decrypt_address(encrypted: str, *, key: str) -> str:
    """Decrypt what :func:`encrypt_address` returned.

    :raises ValueError: it was encrypted with another key, or has changed since.
    """
    from cryptography.fernet import InvalidToken  # noqa: PLC0415 - only waits that are deferred need it

    try:
        return _fernet(key).decrypt(encrypted.encode()).decode()
    except InvalidToken:
        raise ValueError("encrypted with another key, or changed since") from None


def _fernet(key: str) -> Fernet:
    from cryptography.fernet import Fernet  # noqa: PLC0415 - only waits that are deferred need it

    digest = hashlib.blake2b(key.encode(), digest_size=32, person=b"hubprefs address").digest()
    return Fernet(base64.urlsafe_b64encode(digest))


def mask_paths_logged_by(*logger_names: str) -> None:
    """Mask addresses in the records of HTTP libraries, which log the paths they ask for.

    :param logger_names: for instance ``urllib3.connectionpool``.
    """
    for name in logger_names:
        logging.getLogger(name).addFilter(_masked)  # which it takes once


def _masked(record: logging.LogRecord) -> bool:
    record.msg, record.args = scrub(record.getMessage()), ()
    return True

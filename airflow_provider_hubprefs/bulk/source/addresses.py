"""One form for every address, and whether its syntax is valid.

`email-validator` decides, without asking DNS: HubSpot decides whether an address can receive mail. The library takes
about 30 us for an address. Ordinary addresses, which are nearly all, match a pattern; a property test proves that the
library agrees with it.
"""

from __future__ import annotations

import re
import unicodedata

import email_validator

from airflow_provider_hubprefs.bulk.source import residue

LONGEST = 254
"""Characters of an address (RFC 5321)."""

# Deliberately narrower than what is allowed: lower-case ASCII, no two hyphens in a row (so no IDNA form). With at
# most 64 characters in all, no limit on a part's length can be exceeded either.
_PLAIN = re.compile(
    r"(?!')[a-z0-9_+'&-]+(?:\.[a-z0-9_+'&-]+)*@(?:[a-z0-9]+(?:-[a-z0-9]+)*\.)+[a-z]{2,}",
)
_LONGEST_PLAIN = 64

_WITH_AT_SIGN = re.compile(r"""[^\s@,;:|<>()\[\]{}"\\]+@[^\s@,;:|<>()\[\]{}"\\]+""")

INVISIBLE = (
    "\u00ad\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2061\u2062\u2063\u2064"
    "\u2066\u2067\u2068\u2069\ufe00\ufe0e\ufe0f\ufeff"
)
"""Characters without a width, which copying from a web page or a mail leaves: soft hyphen, zero-width space and
joiners, direction controls, byte order mark."""

# str.strip() knows the spaces.
_AROUND = (
    " \t\n\v\f\r\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000" + INVISIBLE
)


class AddressError(ValueError):
    """Text is not an e-mail address. The message says why and quotes none of the text.

    Its ``suggestion`` is the address that may be meant, or nothing. It belongs only where addresses belong: not into a
    log, and not into another error's text.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.suggestion = ""


def normalise(text: str) -> str:
    """Return the form in which an address is compared and sent.

    Trimmed (invisible characters too), Unicode NFC, lower case; the domain in its ASCII form (``xn--``), which
    every mail system knows. Nothing is guessed: ``mailto:`` and ``Jane <...>`` are not addresses, and neither is what
    spreadsheets, word processors, links and wrong encodings make of one (:mod:`.residue`).

    :param text: what was given.
    :raises AddressError: its syntax is not that of an address. Reserved domains such as ``.test`` or ``.invalid``
        pass.
    """
    address = text.strip().lower()
    if len(address) <= _LONGEST_PLAIN and _PLAIN.fullmatch(address):
        return address
    return by_library(text)


def addresses_in(text: str) -> set[str]:
    """Return the addresses that stand in a text, and those that may be meant by what stands there."""
    found = set()
    for part in _WITH_AT_SIGN.findall(text):
        try:
            found.add(normalise(part))
        except AddressError as error:
            found.add(error.suggestion)
    return found - {""}


def is_address(text: str) -> bool:
    """Whether :func:`normalise` accepts a text."""
    try:
        normalise(text)
    except AddressError:
        return False
    return True


def by_library(text: str) -> str:
    """Do the same as :func:`normalise`, always by the library."""
    try:
        return _by_library(text)
    except AddressError as error:
        error.suggestion = _suggestion(text)
        raise


def _suggestion(text: str) -> str:
    if len(text) > 2 * LONGEST:
        return ""
    try:
        return _by_library(residue.removed_from(unicodedata.normalize("NFC", text.strip(_AROUND))))
    except AddressError:
        return ""


def _by_library(text: str) -> str:
    given = unicodedata.normalize("NFC", text.strip(_AROUND))
    if len(given) <= LONGEST and (why := residue.found_in(given)):
        raise AddressError(why)
    address = unicodedata.normalize("NFC", given.lower())
    if not address:
        raise AddressError("the address is empty")
    if len(address) > LONGEST:
        raise AddressError(f"longer than {LONGEST} characters")
    address, top = _without_reserved_domain(address)
    try:
        # Every option is set, because a process may have changed the library's defaults.
        found = email_validator.validate_email(
            address,
            allow_smtputf8=True,
            allow_empty_local=False,
            allow_quoted_local=False,
            allow_domain_literal=False,
            allow_display_name=False,
            check_deliverability=False,
            test_environment=False,
            globally_deliverable=True,
        )
    except email_validator.EmailNotValidError as error:
        stray_quote = "@" in address and '"' in address  # of what follows one, the library sees no at sign
        raise AddressError("has a quotation mark in it" if stray_quote else _in_words(error)) from None
    domain = found.ascii_domain or found.domain
    if top:
        domain = domain[: -len(top)] + top
    return f"{found.local_part}@{domain}"


def _without_reserved_domain(address: str) -> tuple[str, str]:
    """Replace the last label of a reserved domain, which the library refuses, by another of the same length.

    Its list cannot be passed as an argument, and changing it would change it for the whole process.

    :return: the address to ask about, and the label to put back ("" when the domain is not reserved).
    """
    domain = address.rpartition("@")[2]
    top = domain.rpartition(".")[2]
    reserved = "." in domain and any(
        f".{domain}".endswith(f".{name}") for name in email_validator.SPECIAL_USE_DOMAIN_NAMES
    )
    return (address[: -len(top)] + "q" * len(top), top) if reserved else (address, "")


def _in_words(error: email_validator.EmailNotValidError) -> str:
    """Return the library's sentence without what it quotes of the address after a colon or in parentheses."""
    sentence = re.split(r":| \(", str(error), maxsplit=1)[0]
    return sentence.replace("@-sign", "at sign").rstrip(". ")

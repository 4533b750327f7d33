"""What spreadsheets, word processors, links and wrong encodings make of an address: text that may pass for one.

Sent as it is, it opts out an address that does not exist, and HubSpot answers that all is well.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote

_QUOTES = "\"'`\u00b4\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u2039\u203a\u00ab\u00bb\u300c\u300d\uff02\uff07"
_FORMULA = "'`=?*\u00b4"
"""What spreadsheets, Markdown and links put before a text; nearly no address begins with one of them."""
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_SEVERAL = re.compile(r"@[^@]*[\s,;|/:]+[^@]*@")
_NAMED = re.compile(r"<\s*([^<>\s]+@[^<>\s]+)\s*>")
_LINK = re.compile(r"(?i)^(?:mailto|smtp|e-?mail)\s*:[\s/]*")
_TYPOGRAPHY = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u00b4\u02bc\uff07", "'"),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d", "-"),
    }
)
_LOOKS_LIKE = {"<wide>", "<narrow>", "<font>", "<super>", "<sub>", "<circle>", "<square>"}
_LIGATURES = range(0xFB00, 0xFB07)
_LETTERS = ("L", "M", "Nd")


def found_in(text: str) -> str:
    """Return why a text is what something made of an address, or nothing.

    :param text: NFC, without spaces around.
    """
    if "\ufffd" in text:
        return "has the character U+FFFD, which stands for one that was lost: export the source again"
    if text.isascii():
        return _of_links(text) or _around(text)
    if _decoded_again(text):
        return "was read in the wrong encoding: declare the right one (read_options={'encoding': ...})"
    return _of_links(text) or _around(text) or _of_letters(text.rpartition("@")[0] or text)


def removed_from(text: str) -> str:
    """Return a text without what was found in it; it may be no address all the same."""
    if several_in(text) and not _NAMED.search(text):
        return ""
    text = _decoded_again(text) or text
    for _ in range(4):  # '<mailto:...>' and the like: one within another
        before = text
        if _escapes(text):
            text = unquote(text)
        if named := _NAMED.search(text):
            text = named[1]
        text = _LINK.sub("", text.strip().strip(_QUOTES + "<>=*?"))
        if text == before:
            break
    while text and not text[0].isascii() and not _is_letter(text[0]):
        text = text[1:]
    plain = "".join(_plain(char) for char in text.split("?")[0].translate(_TYPOGRAPHY))
    return plain.rstrip(".,;:")


def several_in(text: str) -> bool:
    """Whether a text has more than one address."""
    return _SEVERAL.search(text) is not None


def _of_links(text: str) -> str:
    if several_in(text) and not _NAMED.search(text):
        return "has more than one address: expected one in each row"
    if _escapes(text):
        return "has characters in the form that links have (such as %20)"
    if _LINK.match(text):
        return "begins as a link does (mailto:)"
    return ""


def _around(text: str) -> str:
    if _NAMED.fullmatch(text):
        return "stands within angle brackets"
    if _NAMED.search(text):
        return "has a name or other text beside the address"
    if len(text) > 1 and text[0] in _QUOTES and text[-1] in _QUOTES:
        return "stands within quotation marks or apostrophes"
    if text[:1] in _FORMULA and text:
        return f"begins with a character that spreadsheets and links put there (U+{ord(text[0]):04X})"
    return ""


def _of_letters(local: str) -> str:
    """Characters beyond ASCII: letters, their accents and digits may be part of an address, and nothing else."""
    for char in local:
        if char.isascii():
            continue
        decomposed = unicodedata.decomposition(char).partition(" ")[0]
        if decomposed in _LOOKS_LIKE or ord(char) in _LIGATURES:
            return f"has a letter or sign in another form, as typesetting makes it (U+{ord(char):04X})"
        if not _is_letter(char):
            return f"has a character that word processors make, or that was damaged (U+{ord(char):04X})"
    return ""


def _is_letter(char: str) -> bool:
    return unicodedata.category(char).startswith(_LETTERS)


def _plain(char: str) -> str:
    """Return a character as it is typed: nothing for one without a width, and others as they are."""
    if unicodedata.category(char) == "Cf":
        return ""
    decomposed = unicodedata.decomposition(char).partition(" ")[0]
    return (
        unicodedata.normalize("NFKC", char) if decomposed in _LOOKS_LIKE or ord(char) in _LIGATURES else char
    )


def _escapes(text: str) -> bool:
    """Whether ``%`` begins an escape: of a sign, or of a character beyond ASCII; ``50%off@`` has none."""
    if not (found := _ESCAPE.search(text)):
        return False
    try:
        return not unquote(found[0], errors="strict").isalnum()
    except UnicodeDecodeError:
        try:
            unquote(text, errors="strict")
        except UnicodeDecodeError:
            return False
        return True


def _decoded_again(text: str) -> str:
    """Return what a text was before UTF-8 was read as Windows-1252 or Latin-1; nothing where it was not."""
    if text.isascii():
        return ""
    for encoding in ("cp1252", "latin-1"):
        try:
            again = text.encode(encoding).decode()
        except UnicodeError:
            continue
        return unicodedata.normalize("NFC", again)
    return ""

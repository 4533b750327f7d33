"""Addresses are masked wherever they stand, and fingerprints cannot be turned round."""

from __future__ import annotations

import logging
import string
from urllib.parse import quote

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_provider_hubprefs.hubspot.privacy import (
    decrypt_address,
    encrypt_address,
    fingerprint,
    mask,
    mask_paths_logged_by,
    scrub,
)

ATEXT = string.ascii_letters + string.digits + "!#$%&'*+-/=?^_`{|}~."
PARTS = [
    "",
    " ",
    "is wrong",
    '"',
    "'",
    "<",
    ">",
    "(",
    ")",
    ", ",
    "; ",
    ": ",
    "[",
    "]",
    "{",
    "}",
    "\n",
    ".",
    "!",
    "mailto:",
]


@st.composite
def addresses(draw: st.DrawFn) -> str:
    """Addresses email-validator takes: odd characters, quoted local parts, other scripts."""
    plain = st.text(ATEXT, min_size=4, max_size=20)
    quoted = st.text(string.ascii_letters + ' @,;:<>()[].\\"', min_size=4, max_size=20).map(
        lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    )
    local = draw(plain | quoted | st.text("äöüéß用户", min_size=4, max_size=8))
    domain = draw(
        st.sampled_from(
            ["example.com", "mail.example.co.uk", "exämple.de", "例子.广告", "xn--fsq.example.net"]
        )
    )
    address = f"{local}@{domain}"
    try:
        validate_email(address, check_deliverability=False, allow_quoted_local=True)
    except EmailNotValidError:
        assume(False)
    return address


@given(
    addresses(),
    st.sampled_from(PARTS),
    st.sampled_from(PARTS),
    st.sampled_from([str, quote, lambda a: quote(a, safe="")]),
)
def test_scrubbing_leaves_no_address(address: str, before: str, after: str, shaped: object) -> None:
    assert callable(shaped)
    shape = shaped(address)
    local = shape.replace("%40", "@").rpartition("@")[0]

    scrubbed = scrub(f"The address {before}{shape}{after} was refused")

    assert shape not in scrubbed
    assert address not in scrubbed
    assert local not in scrubbed
    assert scrubbed.startswith("The address ")
    assert scrubbed.endswith(" was refused")


@given(
    st.lists(addresses(), min_size=2, max_size=4),
    st.sampled_from([",", ";", " ", "\n", "|", "/", "&", '","', "><"]),
)
def test_of_many_addresses_none_is_left(many: list[str], between: str) -> None:
    scrubbed = scrub(between.join(many))

    assert not [address for address in many if address in scrubbed]


@given(st.text())
def test_text_without_an_at_sign_stays_as_it_is(text: str) -> None:
    assume("@" not in text and "%" not in text)
    assert scrub(text) == text


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("jane@example.com is already unsubscribed", "j***@e***.com is already unsubscribed"),
        ("Not found: jane@example.com.", "Not found: j***@e***.com."),
        ('"jane doe"@example.com', '"***@e***.com'),
        ('{"email":"jane@example.com","n":1}', '{"email":"j***@e***.com","n":1}'),
        ("<jane@example.com>", "<j***@e***.com>"),
        ("GET /v4/statuses/jane%40example.com?channel=EMAIL", "GET /***@e***.com?channel=EMAIL"),
        ("/statuses/jane%2540example.com", "/***@e***.com"),
        ("bounce-jane.doe=example.com@lists.example.org", "b***@l***.org"),
        ("jane@[127.0.0.1]", "***[127.0.0.1]"),
        ("100 % of it", "100 % of it"),
    ],
)
def test_scrubbed_text_can_still_be_read(text: str, scrubbed: str) -> None:
    assert scrub(text) == scrubbed


@pytest.mark.parametrize(
    ("unit", "scrubbed"),
    [
        *((unit, None) for unit in ("a", '"', '"\\', "a ", "%25", '" ', "%", "\\", "a.b=c")),
        ("@", "***"),
        ("%40", "***"),
        ("%2540", "***"),
        ("a@b.", "a***@b***."),
    ],
)
def test_a_megabyte_of_hostile_text_is_scrubbed_to_its_end(unit: str, scrubbed: str | None) -> None:
    text = unit * (1_000_000 // len(unit))
    assert scrub(text) == (text if scrubbed is None else scrubbed)


@pytest.mark.parametrize("unit", ['"\\"@', '"a"@'])
def test_no_at_sign_of_a_megabyte_of_quoted_parts_is_left(unit: str) -> None:
    scrubbed = scrub(unit * (1_000_000 // len(unit)))
    assert "***" in scrubbed
    assert "@" not in scrubbed.replace("***@", "")


@pytest.mark.parametrize(
    ("address", "masked"),
    [
        ("jane@example.com", "j***@e***.com"),
        (" jane@mail.example.co.uk ", "j***@m***.uk"),
        ("jane@localhost", "j***@l***"),
        ('"a@b"@example.com', '"***@e***.com'),
        ("zoë@exämple.com", "z***@e***.com"),
        ("jane", "***"),
        ("@example.com", "***"),
        ("jane@", "***"),
        ("jane@.", "j***@***."),
        ("", "***"),
    ],
)
def test_a_mask_shows_the_first_letters(address: str, masked: str) -> None:
    assert mask(address) == masked


@given(st.text())
def test_anything_can_be_masked(text: str) -> None:
    assert "***" in mask(text)


def test_a_fingerprint_depends_on_value_and_key_alone() -> None:
    print_ = fingerprint("jane@example.com", key="secret")

    assert print_ == fingerprint("jane@example.com", key=b"secret")
    assert len(print_) == 32
    assert print_ != fingerprint("jane@example.com", key="other")
    assert print_ != fingerprint("john@example.com", key="secret")


def test_a_fingerprint_needs_a_key() -> None:
    with pytest.raises(ValueError, match="key"):
        fingerprint("jane@example.com", key="")


@given(st.text(st.characters()), st.text(min_size=1))
def test_anything_has_a_fingerprint(value: str, key: str) -> None:
    assert len(fingerprint(value, key=key)) == 32


@given(st.text(), st.text(min_size=1))
def test_the_key_decrypts_an_address(text: str, key: str) -> None:
    assert decrypt_address(encrypt_address(text, key=key), key=key) == text


def test_no_other_key_decrypts_an_address_and_no_two_encrypted_ones_are_alike() -> None:
    encrypted = encrypt_address("jane@example.com", key="secret")
    assert encrypted != encrypt_address("jane@example.com", key="secret")
    assert "jane" not in encrypted
    for other, key in (
        (encrypted, "other"),
        (encrypted[:-4] + "AAA=", "secret"),
        ("", "secret"),
        ("é", "secret"),
    ):
        with pytest.raises(ValueError, match="encrypted with another key"):
            decrypt_address(other, key=key)


def test_records_of_an_http_library_are_masked_whatever_their_arguments(
    caplog: pytest.LogCaptureFixture,
) -> None:
    mask_paths_logged_by("some.http.library")
    mask_paths_logged_by("some.http.library")
    logger = logging.getLogger("some.http.library")

    with caplog.at_level(logging.DEBUG):
        logger.debug('%s "GET %s"', "https://api.hubapi.com", "/statuses/jane%40example.com")
        logger.debug("jane@example.com 100%")
        logger.debug("nothing to hide: %d", 7)

    assert [record.getMessage() for record in caplog.records] == [
        'https://api.hubapi.com "GET /***@e***.com"',
        "j***@e***.com 100%",
        "nothing to hide: 7",
    ]
    assert len(logger.filters) == 1

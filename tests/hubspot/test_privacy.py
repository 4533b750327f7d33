"""Addresses are masked wherever they stand, and fingerprints cannot be turned round."""

from __future__ import annotations

import logging
import string
from urllib.parse import quote

import pendulum
import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import assume, given
from hypothesis import strategies as st
from rich.pretty import pretty_repr

from airflow_provider_hubprefs.arguments import PrivateValue
from airflow_provider_hubprefs.bulk.report.outcome import Outcome
from airflow_provider_hubprefs.bulk.report.parts import RunLines
from airflow_provider_hubprefs.bulk.send.operation_wait import OperationWait
from airflow_provider_hubprefs.bulk.send.row_caller import Reading, RowReply
from airflow_provider_hubprefs.bulk.source.row import Row
from airflow_provider_hubprefs.hubspot.api.calls import Calls
from airflow_provider_hubprefs.hubspot.api.contacts import Contact, OptOut
from airflow_provider_hubprefs.hubspot.api.models import (
    BatchError,
    Operation,
    PreferenceLinks,
    Reply,
    StatusChange,
    SubscriberStatuses,
    SubscriberWideStatuses,
    SubscriptionStatus,
    WideStatus,
)
from airflow_provider_hubprefs.hubspot.privacy import (
    decrypt_address,
    encrypt_address,
    fingerprint,
    mask,
    mask_paths_logged_by,
    scrub,
)
from airflow_provider_hubprefs.hubspot.transport.auth import OAuthRefresh, StaticToken, TokenAnswer
from airflow_provider_hubprefs.hubspot.transport.sender import Secret
from tests.helpers import LONG

HOSTILE = 1_000_000 if LONG else 100_000
"""Characters."""

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
        ("jane@example.com,bob@example.org, zoe@example.net;", "j***@e***.org, z***@e***.net;"),
        ("[jane@example.com]: no", "[j***@e***.com]: no"),
        *(
            (f"{local}@example.com is no address", "j***@e***.com is no address")
            for local in ("jane,doe", "jane:doe", "jane;doe", "jane[1]doe", "jane\\doe", "jane:d;o,e")
        ),
        *(
            (f"jane.doe{at}example.com.", "j***@e***.com.")
            for at in ("&#64;", "&#x40;", "&commat;", "\\u0040", "\\x40", "\uff20", "=40", "%40", "%2540")
        ),
        ("retry_after=40 s", "retry_after=40 s"),
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
        ("a@b.", "a***@***."),
    ],
)
def test_long_hostile_text_is_scrubbed_to_its_end(unit: str, scrubbed: str | None) -> None:
    text = unit * (HOSTILE // len(unit))
    assert scrub(text) == (text if scrubbed is None else scrubbed)


@pytest.mark.parametrize("unit", ['"\\"@', '"a"@'])
def test_no_at_sign_of_many_quoted_parts_is_left(unit: str) -> None:
    scrubbed = scrub(unit * (HOSTILE // len(unit)))
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
        ("a@b.co", "***@***.co"),
        ("ab@b.co", "a***@***.co"),
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


PRIVATE = "jane.doe@example.com"
TOKEN = "pat-na1-secret"
HOLDERS = [
    Row(1, PRIVATE, detail="x"),
    Outcome(Row(1, PRIVATE), "rejected", "X", f"{PRIVATE} is no address"),
    RowReply([Row(1, PRIVATE)], Operation(status="COMPLETE"), single=True),
    Reading({PRIVATE: []}, [], 0.0),
    RunLines("final", held=(PRIVATE,)),
    OptOut(1, PRIVATE, 1),
    OperationWait(subscriber=PRIVATE),
    StatusChange(subscriber=PRIVATE, subscription_id=1, status="SUBSCRIBED", legal_basis_explanation=PRIVATE),
    SubscriptionStatus(subscriber=PRIVATE, subscription_id=1, status="X", source=PRIVATE),
    WideStatus(subscriber=PRIVATE, status="X"),
    SubscriberStatuses(
        subscriber=PRIVATE, statuses=[SubscriptionStatus(subscriber=PRIVATE, subscription_id=1, status="X")]
    ),
    SubscriberWideStatuses(subscriber=PRIVATE, wide_statuses=[WideStatus(subscriber=PRIVATE, status="X")]),
    BatchError(message=PRIVATE, context={"emails": [PRIVATE]}),
    Operation(status="X", given_results=[WideStatus(subscriber=PRIVATE, status="X")], links={"a": PRIVATE}),
    PreferenceLinks(subscriber=PRIVATE, manage_preferences_url=TOKEN, unsubscribe_all_url=TOKEN),
    Contact(id=1, properties={"email": PRIVATE}, updated_at=pendulum.now()),
    TokenAnswer(access_token=TOKEN, refresh_token=TOKEN),
    StaticToken(TOKEN),
    OAuthRefresh(client_id="a", client_secret=TOKEN, refresh_token=TOKEN),
    Secret(TOKEN),
    Reply(200, {}, PRIVATE.encode()),
    Calls().unsubscribe_all(PRIVATE),
    PrivateValue(PRIVATE),
]


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda holder: type(holder).__name__)
def test_no_printed_form_of_what_holds_a_secret_shows_it(holder: object) -> None:
    """``rich`` prints local variables: in Airflow's own log on a terminal, and in many others."""
    for printed in (repr(holder), repr([holder]), pretty_repr(holder), pretty_repr({"a": [holder]})):
        assert "jane.doe" not in printed
        assert TOKEN not in printed


def test_the_tokens_text_is_what_is_sent() -> None:
    assert f"Bearer {Secret(TOKEN)}" == f"Bearer {TOKEN}"

"""One form for every address; the short cut and the library agree."""

from __future__ import annotations

import email_validator
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_hubprefs.bulk.source import residue
from airflow_provider_hubprefs.bulk.source.addresses import AddressError, by_library, normalise
from tests.helpers import LONG


def verdict(text: str, *, short_cut: bool) -> str | None:
    try:
        return normalise(text) if short_cut else by_library(text)
    except AddressError:
        return None


PIECES = st.sampled_from(
    [
        *"aZ09.-_+'&@ \t",
        "--",
        "..",
        "xn--",
        "xn--mnchen-3ya",
        "example",
        ".com",
        "@x.test",
        ".invalid",
        "@",
        "ü",
        "K",
    ]
)
LIKELY = st.from_regex(r"[A-Za-z0-9_+'&.\-]{1,20}@[A-Za-z0-9.\-]{1,20}\.[A-Za-z0-9]{1,6}", fullmatch=True)


@settings(max_examples=1500 if LONG else 300, deadline=None)
@given(st.one_of(LIKELY, st.lists(PIECES, max_size=14).map("".join), st.emails(), st.text(max_size=30)))
@example("a@" + "b" * 63 + ".com")
@example("a@" + "b" * 64 + ".com")
@example("a" * 62 + "@x.com")
@example("a@ab--c.com")
@example("a@1.2.in-addr.arpa")
@example("a@localhost")
@example("a@x.c0m")
@example("a\n@x.com")
@example("a@x.com\n")
def test_the_short_cut_gives_the_librarys_verdict_and_its_form(text: str) -> None:
    assert verdict(text, short_cut=True) == verdict(text, short_cut=False)


@settings(max_examples=500 if LONG else 150, deadline=None)
@given(st.one_of(st.emails(), st.lists(PIECES, max_size=14).map("".join)))
def test_what_is_normalised_stays_as_it_is(text: str) -> None:
    once = verdict(text, short_cut=True)
    if once is not None:
        assert normalise(once) == once


@settings(max_examples=500 if LONG else 150, deadline=None)
@given(st.emails(domains=st.just("example.com")))
def test_for_other_domains_the_library_itself_is_of_the_same_opinion(text: str) -> None:
    try:
        theirs = email_validator.validate_email(text, check_deliverability=False).normalized.lower()
    except email_validator.EmailNotValidError:
        theirs = ""
    if not residue.found_in(text):  # which the library lets pass
        assert (verdict(text, short_cut=True) or "") == theirs


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("  Jane.Doe@Example.COM ", "jane.doe@example.com"),
        ("\u00a0jane@example.com\u200b\u200b", "jane@example.com"),
        ("\ufeffjane@example.com", "jane@example.com"),
        ("jane@MÜNCHEN.de", "jane@xn--mnchen-3ya.de"),
        ("jane@xn--mnchen-3ya.de", "jane@xn--mnchen-3ya.de"),
        ("ju\u0308rgen@example.com", "jürgen@example.com"),
        ("o'brien+news@example.co.uk", "o'brien+news@example.co.uk"),
        ("\u212aelvin@example.com", "kelvin@example.com"),
        ("jane@brand.test", "jane@brand.test"),
        ("jane@brand.invalid", "jane@brand.invalid"),
        ("jäne@münchen.test", "jäne@xn--mnchen-3ya.test"),
    ],
)
def test_the_form_that_is_sent(given: str, sent: str) -> None:
    assert normalise(given) == sent


@pytest.mark.parametrize(
    "given",
    [
        *(
            "",
            "   ",
            "\u200b",
            "jane",
            "jane@",
            "@example.com",
            "jane@example",
            "a b@example.com",
            "jane@localhost",
        ),
        *(
            "mailto:jane@example.com",
            "Jane <jane@example.com>",
            "<jane@example.com>",
            '"jane doe"@example.com',
        ),
        *("jane@@example.com", "jane@example..com", ".jane@example.com", "jane@[127.0.0.1]", "jane@x_y.com"),
        *(
            "jane@example.com,bob@example.com",
            "jane\0@example.com",
            "jane@xn--a.com",
            "jane@test",
            "j" * 250 + "@x.com",
        ),
    ],
)
def test_nothing_is_guessed(given: str) -> None:
    with pytest.raises(AddressError):
        normalise(given)


@settings(max_examples=1000 if LONG else 200, deadline=None)
@given(st.text(alphabet='wzqWZQ0\u00fc\u05d0(<" .@-:,', min_size=1, max_size=40))
def test_the_reason_repeats_nothing_of_the_address(text: str) -> None:
    try:
        normalise(text)
    except AddressError as error:
        assert "@" not in str(error)
        for word in text.replace("@", " ").replace(".", " ").split():
            if len(word) > 3:
                assert word not in str(error)


def test_a_megabyte_of_text_is_refused_at_once() -> None:
    with pytest.raises(AddressError, match="longer than 254"):
        normalise("a" * 1_000_000 + "@example.com")


def test_the_processs_own_settings_of_the_library_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(email_validator, "ALLOW_SMTPUTF8", False)
    monkeypatch.setattr(email_validator, "ALLOW_QUOTED_LOCAL", True)
    monkeypatch.setattr(email_validator, "SPECIAL_USE_DOMAIN_NAMES", ["example.com"])
    assert normalise("jürgen@Example.com") == "jürgen@example.com"
    with pytest.raises(AddressError):
        normalise('"jane doe"@brand.example')


@pytest.mark.parametrize(
    ("given", "why", "meant"),
    [
        ("o\u2019neil@example.com", "word processors", "o'neil@example.com"),
        ("\u201ccy@example.com\u201d", "quotation", "cy@example.com"),
        ("\u00abcy@example.com\u00bb", "quotation", "cy@example.com"),
        ("mary\u2013jane@example.com", "word processors", "mary-jane@example.com"),
        ("mary\u2011jane@example.com", "word processors", "mary-jane@example.com"),
        ("mary\u00adjane@example.com", "word processors", "maryjane@example.com"),
        ("mary\u200bjane@example.com", "word processors", "maryjane@example.com"),
        ("\u2022 cy@example.com", "word processors", "cy@example.com"),
        ("\u2022cy@example.com", "word processors", "cy@example.com"),
        ("\uff4aane@example.com", "another form", "jane@example.com"),
        ("jane\uff20example.com", "another form", "jane@example.com"),
        ("o\ufb03ce@example.com", "another form", "office@example.com"),
        ("m\ufffdller@example.com", "lost", ""),
        ("M\u00c3\u00bcller@example.com", "wrong encoding", "müller@example.com"),
        ("o\u00e2\u20ac\u2122neil@example.com", "wrong encoding", "o'neil@example.com"),
        ("jane\u20ac@example.com", "word processors", ""),
        ("'bob@example.com", "spreadsheets", "bob@example.com"),
        ("=bob@example.com", "spreadsheets", "bob@example.com"),
        ('="bob@example.com"', "spreadsheets", "bob@example.com"),
        ("`bob@example.com`", "quotation", "bob@example.com"),
        ("?bob@example.com", "spreadsheets", "bob@example.com"),
        ("%20ann@example.com", "links", "ann@example.com"),
        ("ann%2Bnews@example.com", "links", "ann+news@example.com"),
        ("ann%40example.com", "links", "ann@example.com"),
        ("m%C3%BCller@example.com", "links", "müller@example.com"),
        ("mailto:bob@example.com?subject=Stop", "mailto", "bob@example.com"),
        ("mailto://bob@example.com", "mailto", "bob@example.com"),
        ("bob@example.com>", "", "bob@example.com"),
        ("jane@exam\u2013ple.com", "", "jane@exam-ple.com"),
        ("jane@exam\ufffdple.com", "lost", ""),
        ("mailto%3Abob@example.com", "links", "bob@example.com"),
        ('"bob@example.com"', "quotation", "bob@example.com"),
        ("'bob@example.com'", "quotation", "bob@example.com"),
        ("<bob@example.com>", "angle brackets", "bob@example.com"),
        ("Bob Doe <bob@example.com>", "beside the address", "bob@example.com"),
        ('"Doe, Bob" <Bob@example.com>', "beside the address", "bob@example.com"),
        ("bob@example.com; cy@example.com", "more than one", ""),
        ("bob@example.com ::: cy@example.com", "more than one", ""),
        ("bob@example.com,", "", "bob@example.com"),
        ("bob@example.com'", "", "bob@example.com"),
        ('o"neil@example.com', "quotation mark", ""),
        ('<a href="mailto:bob@example.com">', "quotation mark", ""),
    ],
)
def test_what_was_made_of_an_address_is_none_and_what_is_meant_is_suggested(
    given: str, why: str, meant: str
) -> None:
    with pytest.raises(AddressError, match=why) as caught:
        normalise(given)
    assert "must have an at sign" not in str(caught.value)
    assert "@" not in str(caught.value)
    assert caught.value.suggestion == meant


@pytest.mark.parametrize(
    "given",
    [
        *(
            "o'neil@example.com",
            "müller@example.com",
            "a+b@example.com",
            "x/y@example.com",
            "a=b@example.com",
        ),
        *(
            "50%off@example.com",
            "a%b@example.com",
            "100%dear@example.com",
            "what?now@example.com",
            "#1@example.com",
        ),
        *(
            "joão@example.com",
            "用户@example.com",
            "पता@example.com",
            "ทำ@example.com",
            "user1@xn--mnchen-3ya.de",
        ),
        *("-dash@example.com", "+plus@example.com", "{x}@example.com", "a`b@example.com", "a&b@example.com"),
    ],
)
def test_what_may_be_an_address_passes(given: str) -> None:
    assert normalise(given) == given

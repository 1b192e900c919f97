"""Secrets and personal data are found where they stand, and what only looks like them is not."""

from __future__ import annotations

import json
import socket
import sys

import pytest

from engrain.errors import MissingExtra, UserError
from engrain.records import Document
from engrain.synthesize.screen.run import Searcher, Sensitive
from engrain.synthesize.settings import ScreenSettings

STORY = "The keeper climbed the stairs at 9.30 and lit the lamp, as in 1641-1679.\n" * 3

# Each is put together here, so that no scanner takes this file for a leak.
PLANTED = [
    ("private_key", "-----BEGIN RSA " + "PRIVATE KEY-----"),
    ("private_key", "-----BEGIN ENCRYPTED " + "PRIVATE KEY-----"),
    ("api_key", "AKIA" + "Q3EGXNSK7WDPLM2T"),
    ("api_key", "ghp_" + "a1B2c3D4e5F6" * 3),
    ("api_key", "github" + "_pat_" + "a1B2c3D4e5F6" * 6 + "a1B2c3D4e5"),
    ("api_key", "xoxb-" + "2511123456-2511123456789-abcdefghij"),
    ("api_key", "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc"),
    ("api_key", "AIza" + "SyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q"),
    ("api_key", "sk-ant-" + "api03-a1B2c3D4e5F6g7H8i9J0k1L2m3N4"),
    ("api_key", "hf_" + "abcdefghijklmnopqrstuvwxyzABCDEFGH"),
    ("api_key", "AccountKey=" + "a1B2" * 22),
    ("api_key", "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiJhIn0." + "c2lnbmF0dXJl"),
    ("password", "postgres://keeper:" + "lamp4light@db.internal:5432/log"),
    ("password", "Server=db;Uid=keeper;" + "Pwd=lamplight;Database=log"),
    ("password", "password" + ' = "lamp and light"'),
    ("password", "DB_PASSWORD" + ": lamp4light"),
    ("email", "grace.o'neil+log@harbour-office.example.co.uk"),
    ("email", "jürgen@leuchtturm.example"),
    ("phone", "+44 20 7946 0958"),
    ("phone", "+49 (30) 901820"),
    ("iban", "DE89 3704 0044 0532 0130 00"),
    ("iban", "GB82WEST12345698765432"),
    ("iban", "NO9386011117947"),
    ("payment_card", "4111 1111 1111 1111"),
    ("payment_card", "5555-5555-5555-4444"),
    ("payment_card", "378282246310005"),
    ("payment_card", "30569309025904"),
    ("national_id", "219-09-9998"),
    ("national_id", "AB 12 34 56 C"),
    ("national_id", "RSSMRA85T10A562S"),
    ("national_id", "12345678Z"),
    ("national_id", "X1234567L"),
    ("national_id", "1 84 12 76 451 089 46"),
]

HARMLESS = [
    "2013 2014 2015 2016 2017",
    "4111 1111 1111 1112, and 1234567890123452",
    "DE88 3704 0044 0532 0130 00",
    "GB82 WEST 1234 5698 7654 321",
    "978-0-306-40615-7",
    "000-12-3456 or 666-12-3456 or 12-3456789",
    "12345678A and 87654321B",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "Password: see the sealed envelope. The secret is patience.",
    "password = getpass()",
    "He kept the private key in a drawer, and the token in his coat.",
    "10.0.0.1, 8.8.8.8, version 3.11.7, at 12:30",
    "https://example.org/a?b=c#d and ssh://host:22/path",
    "@keeper, a@b, 5 @ 3.20",
    "(408) 536-6000 without its country's code",
]


def places(text: str, **settings: object) -> list[tuple[str, str]]:
    searcher = Searcher(ScreenSettings(**settings))
    return [(place.kind, text[place.start : place.end]) for place in searcher.places(text)]


@pytest.mark.parametrize(("kind", "planted"), PLANTED)
def test_what_is_planted_is_found_where_it_stands(kind, planted):
    text = f"{STORY}He noted {planted} and\n{STORY}"
    (found,) = Searcher(ScreenSettings(find=[kind])).places(text)
    assert found.kind == kind
    start = text.index(planted)
    assert start - 1 <= found.start < found.end <= start + len(planted) + 1
    assert found.end - found.start >= min(len(planted), 9) - 2


@pytest.mark.parametrize("harmless", HARMLESS)
def test_what_only_looks_like_it_is_not_found(harmless):
    assert places(f"{STORY}He noted {harmless} and\n{STORY}") == []


def test_only_the_kinds_that_are_named_are_looked_for():
    text = "\n".join(planted for _, planted in PLANTED)
    for kind in dict.fromkeys(kind for kind, _ in PLANTED):
        assert {found for found, _ in places(text, find=[kind])} == {kind}


def test_nothing_is_asked_of_the_network(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    text = "\n".join(planted for _, planted in PLANTED)
    assert len(places(text)) >= len(PLANTED)


def test_national_telephone_numbers_are_found_in_the_regions_that_are_named():
    text = "Call (408) 536-6000 or 0171 4567890, filed as 07321332 in 1698."
    assert places(text) == []
    assert places(text, phone_regions=["US"]) == [("phone", "(408) 536-6000")]
    assert places(text, phone_regions=["DE"]) == [("phone", "0171 4567890")]


def test_a_region_that_is_none_is_refused_by_its_name():
    with pytest.raises(UserError, match="'Germany' is no region"):
        places("", phone_regions=["Germany"])


def test_what_is_allowed_is_not_found():
    text = "Write to press@Example.com or to grace@example.com, not to grace@example.org."
    assert places(text, allow=["*@EXAMPLE.com"]) == [("email", "grace@example.org")]


def test_what_stands_inside_another_finding_is_counted_once():
    text = "Log in at https://keeper:" + "lamp4light@db.example.org/log now."
    assert [kind for kind, _ in places(text)] == ["password"]


def test_a_secret_in_a_very_long_line_is_found_once_and_in_its_place():
    key = "AKIA" + "Q3EGXNSK7WDPLM2T"
    for before in (0, 1990, 2000, 3990, 4000, 11_000):
        text = f"{'lamp ' * (before // 5)}{key}{' light' * 2000}"
        assert places(text) == [("api_key", key)]


def test_a_finding_tells_its_place_and_at_most_two_characters():
    document = Document(
        id="d1",
        title="Notes of grace@example.org",
        source="notes/grace.txt",
        text=f"{STORY}Call +44 20 7946 0958.",
        sha256="",
    )
    title, text = Searcher(ScreenSettings()).sensitive(document)
    assert title == Sensitive(
        document_id="d1", source="notes/grace.txt", part="title", kind="email", start=9, end=26,
        hint="gr",
    )  # fmt: skip
    assert (text.part, text.kind, text.hint) == ("text", "phone", "+4")
    assert document.text[text.start : text.end] == "+44 20 7946 0958"


def test_a_source_that_is_itself_a_finding_is_not_told():
    document = Document(
        id="d1", title="Mail", source="grace@example.org.txt", text="grace@example.org", sha256=""
    )
    assert [one.source for one in Searcher(ScreenSettings()).sensitive(document)] == [""]


def test_a_missing_library_names_the_extra(monkeypatch):
    for name in ("detect_secrets.core.plugins.util", "phonenumbers"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            with pytest.raises(MissingExtra, match=r"engrain\[screen\]"):
                Searcher(ScreenSettings())


def test_nothing_is_found_in_stories_and_encyclopaedias(data):
    stories = (data / "quality" / "quality_mc4.jsonl").read_text(encoding="utf-8").splitlines()
    passages = (data / "squad" / "squad_val.jsonl").read_text(encoding="utf-8").splitlines()
    searcher = Searcher(ScreenSettings(phone_regions=["US", "GB", "DE"]))
    texts = [json.loads(line)["article"] for line in stories]
    texts += [json.loads(line)["context"] for line in passages]
    assert [searcher.places(text) for text in texts if searcher.places(text)] == []

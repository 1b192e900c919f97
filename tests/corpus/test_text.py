"""Characters: what cleaning keeps and removes, and how bytes are read."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engrain.corpus.draft import Unusable
from engrain.corpus.html import extract
from engrain.corpus.pdf import mend_hyphens
from engrain.corpus.plain import first_heading, split_front_matter
from engrain.corpus.shelf import identify
from engrain.corpus.text import clean, decode, one_line, stem_title


@settings(deadline=None, max_examples=50)
@given(st.text())
def test_cleaning_is_stable_and_leaves_nothing_that_utf8_or_nfc_refuses(text):
    once = clean(text)
    assert clean(once) == once
    assert once.encode().decode() == once
    assert unicodedata.is_normalized("NFC", once)
    assert not any(unicodedata.category(c) == "Cc" and c not in "\n\t" for c in once)


def test_newlines_are_one_kind_and_empty_lines_come_singly():
    assert clean("a\r\nb\rc\u2028d\x0ce  \n\n\n\nf\x00g\u00adh\u200bi\ufeff") == (
        "a\nb\nc\nd\ne\n\nfghi"
    )


def test_a_decomposed_letter_becomes_one_character():
    assert clean("Cafe\u0301") == "Caf\u00e9"
    assert clean("Cafe\u200b\u0301") == "Caf\u00e9"


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_marked_unicode_is_read_as_such(codec):
    assert decode("Zo\u00eb \u4e2d".encode(codec))[0] == "Zo\u00eb \u4e2d"


def test_bytes_that_cp1252_does_not_define_are_latin1():
    assert decode(b"caf\xe9 \x81 and some more plain text to be sure")[1] == "latin-1"


def test_a_declared_encoding_is_used_and_an_invented_one_is_not():
    data = "\u043f\u0440\u0438\u0432\u0435\u0442".encode("koi8-r")
    assert decode(data, "KOI8-R") == ("\u043f\u0440\u0438\u0432\u0435\u0442", "koi8-r")
    assert decode(data, "no-such-codec")[1] == "cp1252"
    assert decode(data, "hex")[1] == "cp1252"


@settings(deadline=None, max_examples=50)
@given(st.binary(min_size=1))
def test_any_bytes_are_text_or_unusable(data):
    try:
        text, _ = decode(data)
    except Unusable:
        return
    assert isinstance(text, str)


def test_titles_are_short_and_on_one_line():
    assert one_line("  a\n b ") == "a b"
    assert len(one_line("x" * 1000)) == 200
    assert stem_title("ADOBE_2022_10K") == "ADOBE 2022 10K"
    assert stem_title("\x00") == "untitled"


def test_front_matter_leaves_the_text_only_where_it_is_a_mapping():
    assert split_front_matter("---\ntitle: A\ndate: 2024-01-01\n---\nBody")[0]["title"] == "A"
    for text in ("---\nno mapping\n---\nBody", "---\n: [\n---\nBody", "---\nBody", "a\n---\nb"):
        assert split_front_matter(text) == ({}, text)


def test_the_first_heading_is_not_a_comment_in_code():
    assert first_heading("```\n# code\n```\n## Real ##\n") == "Real"
    assert first_heading("Under\n=====\n# Later") == "Under"
    assert first_heading("#hash\n\n---\ntext") == ""


def test_html_keeps_tables_lists_code_and_text_and_drops_the_frame():
    title, text = extract(
        "<title>Leave</title><nav>Menu</nav><h1>Leave policy</h1><p>Every <b>employee</b>\n has "
        "28 days."
        "<table><tr><th>Years</th><th>Days</th></tr><tr><td>0-2</td><td><p>28</p></td></tr></table>"
        "<ul><li>Ask early.<li>Ask twice.</ul><pre>a = 1\n  b = 2</pre>one<br>two"
        "<script>track()</script><style>p{}</style><footer>Copyright</footer>"
    )
    assert title == "Leave"
    assert text.strip() == (
        "Leave policy\n\nEvery employee has 28 days.\n\nYears | Days\n0-2 | 28\n\n"
        "- Ask early.\n- Ask twice.\n\na = 1\n  b = 2\n\none\ntwo"
    )


def test_html_entities_and_escaped_markup_are_text():
    assert extract("<p>3 &lt; 4 &amp; &lt;script&gt;alert(1)&lt;/script&gt;")[1].strip() == (
        "3 < 4 & <script>alert(1)</script>"
    )


def test_a_page_laid_out_as_a_table_keeps_its_paragraphs():
    prose = "A long cell of prose. " * 20
    _, text = extract(
        f"<table><tr><td><p>Menu</p></td><td><p>{prose}</p><p>End.</p></td></tr></table>"
    )
    assert clean(text) == f"Menu\n\n{prose.strip()}\n\nEnd."


def test_a_word_broken_at_a_line_end_is_mended_where_the_text_knows_it():
    assert mend_hyphens("infor\ufffemation is information; non\ufffeGAAP; COVID\ufffe19") == (
        "information is information; non-GAAP; COVID-19"
    )


def test_ids_are_readable_and_differ_where_slugs_are_equal():
    assert identify("docs/Leave Policy.md").startswith("docs-leave-policy-md-")
    assert identify("a b") != identify("a-b")
    assert identify("\u4e2d\u6587").startswith("document-")

"""What keeps documents from acting on the page."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest

from engrain.report.page import content_security_policy, embedded_json, markdown_cell

STRINGS = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "]]>",
    "\u2028\u2029 & &amp; <b>",
    "\x00\x01\u202e",
    'quote " backslash \\ newline \n',
    "",
]


@pytest.mark.parametrize("text", STRINGS)
def test_embedded_json_is_read_back_as_it_was_and_holds_no_markup(text: str):
    written = str(embedded_json({text: [text, None, True, 0.1]}))
    assert json.loads(written) == {text: [text, None, True, 0.1]}
    assert not re.search("[<>&\u2028\u2029]", written)


def test_numbers_that_json_has_not_are_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        embedded_json(float("nan"))


def test_the_policy_admits_one_script_by_its_hash_and_nothing_from_elsewhere():
    policy = content_security_policy(css="a{}", script="let a")
    digest = base64.b64encode(hashlib.sha256(b"let a").digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "http" not in policy


def test_a_markdown_cell_stays_in_its_cell():
    assert markdown_cell("a | b\n\n# <img>") == r"a \| b \# \<img\>"

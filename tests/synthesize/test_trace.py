"""Every text leads back to its request, and every document to all that was made of it."""

from __future__ import annotations

import pytest

from engrain import artifacts
from engrain.backends.base import Reply
from engrain.backends.scripted import ScriptedBackend
from engrain.errors import UserError
from engrain.progress import Silent
from engrain.records import Rejected, SyntheticText
from engrain.synthesize import SynthesisSettings
from engrain.synthesize.base import Asked
from engrain.synthesize.run import synthesize
from engrain.synthesize.trace import made_from, requests, trace


@pytest.fixture
def made(make_corpus, writer, tmp_path):
    def script(request):
        reply = writer._script(request)
        # A pair without an answer beside the whole ones.
        broken = reply.text.replace('"answer": "there"', '"answer": ""', 1)
        return Reply(text=broken, finish_reason="stop", usage=reply.usage)

    return synthesize(
        make_corpus(3),
        ScriptedBackend(script, model="scribe"),
        SynthesisSettings(budget={"tokens": 8_000}, documents={"temperature": 0.5}),
        tmp_path / "out",
        seed=7,
        concurrency=4,
        progress=Silent(),
    )


def test_a_text_leads_to_its_document_prompt_model_and_settings(made):
    text = next(text for text in artifacts.texts(made) if text.kind == "document")
    origin = trace(made, text.id)
    assert origin.text == text
    assert origin.asked.document_id == text.document_id
    assert text.strategy in origin.asked.prompt
    assert text.focus in origin.asked.prompt
    assert (origin.model, origin.seed) == ("scribe", 7)
    assert origin.sampling == {"temperature": 0.5, "top_p": 0.95, "max_tokens": 4096}
    assert origin.asked.completion_tokens == text.tokens


def test_a_pair_leads_to_the_rest_of_its_reply(made):
    pair = next(text for text in artifacts.texts(made) if text.kind == "qa")
    origin = trace(made, pair.id)
    assert len(origin.siblings) == 6
    assert [row.reason for row in origin.rejected] == ["answer_missing"]
    assert pair.id not in {text.id for text in origin.siblings}
    ids = {row.request_id for row in origin.siblings} | {row.request_id for row in origin.rejected}
    assert ids == {pair.request_id} == {origin.asked.request_id}
    assert sum(text.tokens for text in (pair, *origin.siblings)) <= origin.asked.completion_tokens


def test_a_text_that_is_not_there_is_the_users_error(made):
    with pytest.raises(UserError, match="no kept text 'nothing'"):
        trace(made, "nothing")


def test_a_document_leads_to_all_that_was_made_of_it(made):
    found = list(made_from(made, "d1"))
    for kind, everything in (
        (SyntheticText, artifacts.texts(made)),
        (Rejected, artifacts.rejected(made)),
        (Asked, requests(made)),
    ):
        expected = [row for row in everything if row.document_id == "d1"]
        assert [row for row in found if isinstance(row, kind)] == expected != []

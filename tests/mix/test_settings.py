from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from engrain.mix.settings import MixtureSettings, ReplaySettings


def test_a_ratio_becomes_shares():
    assert MixtureSettings(qa_to_documents="1:3").weights == (0.25, 0.75)
    assert MixtureSettings(qa_to_documents="0:1").weights == (0, 1)
    assert MixtureSettings(qa_to_documents="0.5 : 0.5").weights == (0.5, 0.5)


@pytest.mark.parametrize("wrong", ["1", "1:", "a:b", "1:-1", "0:0", "1:2:3", "1:inf", "1:nan", ""])
def test_what_is_no_ratio_is_refused(wrong):
    with pytest.raises(ValidationError):
        MixtureSettings(qa_to_documents=wrong)


def test_where_replay_lies_is_not_its_identity():
    here, there = ReplaySettings(source="a.txt"), ReplaySettings(source="b/a.txt")
    assert here.identity() == there.identity()


PAIRS = {"name": "pairs", "texts": "qa", "share": 0.5}
SPA = {"name": "spa", "texts": "documents", "methods": ["spa"], "share": 0.25}
REST = {"name": "rest", "texts": "documents", "share": 0.25}


def test_components_take_the_place_of_the_ratio():
    mixture = MixtureSettings(components=[PAIRS, SPA, REST])
    assert mixture.qa_to_documents is None
    assert [part.name for part in mixture.parts] == ["pairs", "spa", "rest"]
    short = MixtureSettings(qa_to_documents="1:3")
    assert [(part.name, part.texts, part.share) for part in short.parts] == [
        ("qa", "qa", 0.25),
        ("documents", "documents", 0.75),
    ]
    assert [part.name for part in MixtureSettings(qa_to_documents="1:0").parts] == ["qa"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"qa_to_documents": "1:1", "components": [PAIRS]}, "both say what is mixed; keep one"),
        ({"qa_to_documents": None}, "nothing is mixed; give qa_to_documents or components"),
        ({"components": [PAIRS]}, r"the components \('pairs' 0.5\) add up to 0.5; make it 1"),
        ({"components": [PAIRS, PAIRS]}, "two components are named 'pairs'; rename one"),
        (
            {"components": [PAIRS, dict(PAIRS, name="more")]},
            "components 'pairs' and 'more' both take all qa; tell them apart by methods or run",
        ),
        (
            {"components": [PAIRS, SPA, dict(SPA, name="more")]},
            "components 'spa' and 'more' both take the documents of 'spa'",
        ),
        ({"components": [dict(PAIRS, share=1, name="replay")]}, "give the component another name"),
        ({"components": [dict(PAIRS, share=1, name="No spaces")]}, "should match pattern"),
        ({"components": [dict(PAIRS, share=1, repeats=0)]}, "a text stands at least once"),
        ({"components": [dict(PAIRS, share=1, repeats={"at_most": 0})]}, "greater than or equal"),
        (
            {"components": [{"name": "s", "texts": "source", "share": 1, "methods": ["qa"]}]},
            "source documents are written by no method; take methods out",
        ),
        (
            {"components": [{"name": "s", "texts": "source", "share": 1, "run": "a"}]},
            "source documents are this run's own; take run out",
        ),
        ({"qa_to_documents": "1:0", "order": "qa_first"}, "'qa_first' needs question-answer pairs"),
        ({"order": "stitched"}, "add a component with texts: source"),
        ({"order": "random"}, "Input should be 'mixed', 'qa_first'"),
    ],
)
def test_what_contradicts_itself_is_refused_and_told_how_to_mend(settings, said):
    with pytest.raises(ValidationError, match=said):
        MixtureSettings(**settings)


def test_without_a_source_there_is_no_replay_and_none_is_pretended():
    assert MixtureSettings().replay is None
    with pytest.raises(ValidationError, match="source"):
        MixtureSettings(replay={"share": 0.2})


def test_where_another_run_lies_is_not_identity():
    here, there = (
        MixtureSettings(components=[dict(PAIRS, share=1, run=Path(name))]) for name in ("a", "b/a")
    )
    assert here.identity() == there.identity()

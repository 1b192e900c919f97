from __future__ import annotations

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

"""The error tree: who can mend what."""

from __future__ import annotations

import inspect
import re

import pytest

from engrain import errors


def classes() -> dict[str, type[Exception]]:
    return {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, Exception)
    }


def test_the_tree_drawn_at_the_top_is_the_tree_of_the_code():
    drawn = re.findall(
        r"^([ |]*)[|`]?-{0,2} ?([A-Z]\w+Error|MissingExtra)\b", str(errors.__doc__), re.M
    )
    trail: list[tuple[int, str]] = []
    for prefix, name in drawn:
        depth = len(prefix)
        trail = [(level, parent) for level, parent in trail if level < depth]
        if trail:
            assert classes()[name].__bases__ == (classes()[trail[-1][1]],)
        trail.append((depth, name))
    assert {name for _, name in drawn} == set(classes())


def test_a_failed_item_is_never_taken_for_the_users_mistake_or_the_other_way_round():
    for name, error in classes().items():
        if name != "EngrainError":
            assert issubclass(error, errors.UserError) != issubclass(error, errors.ItemError)


def test_a_missing_extra_names_the_command_that_installs_it():
    with pytest.raises(errors.UserError, match=r"pip install 'engrain\[dense\]'"):
        raise errors.MissingExtra("retrieval with embeddings", "dense")

"""The names that users import: added and removed on purpose, each loaded when first used."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

import engrain

SOURCE = Path(__file__).resolve().parent.parent / "src" / "engrain"

# A name that leaves this list breaks somebody's program: say so in CHANGELOG.md.
SURFACE = [
    "Artifact",
    "Attempt",
    "Backend",
    "Document",
    "EndpointError",
    "EngrainError",
    "ItemError",
    "Message",
    "MissingExtra",
    "Point",
    "Progress",
    "Question",
    "Recipe",
    "Rejected",
    "Reply",
    "Request",
    "Sampling",
    "Silent",
    "SyntheticText",
    "Usage",
    "UserError",
    "load",
]


def test_the_public_surface_is_exactly_what_we_promise():
    assert engrain.__all__ == SURFACE


@pytest.mark.parametrize("name", SURFACE)
def test_every_public_name_can_be_imported_and_has_a_docstring(name: str):
    assert getattr(engrain, name).__doc__


def test_what_editors_and_type_checkers_see_is_what_runs():
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    declared = {
        alias.asname: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("engrain.")
        for alias in node.names
    }
    assert sorted(str(name) for name in declared) == sorted(engrain.__all__)
    for name, module in declared.items():
        assert getattr(importlib.import_module(str(module)), str(name)) is getattr(
            engrain, str(name)
        )


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Corpse'"):
        engrain.Corpse  # noqa: B018  # the access is what is tested


def test_the_version_is_that_of_the_installed_package():
    assert engrain.__version__[0].isdigit()


def test_dir_shows_the_public_surface():
    assert set(SURFACE) <= set(dir(engrain))

"""Settings: what changes the result is identity, what does not is execution; typos are errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field, ValidationError

from engrain.settings import Settings, execution
from engrain.store import fingerprint


class Endpoint(Settings):
    model: str = "m"
    base_url: str = execution("http://127.0.0.1:8000/v1")


class Part(Settings):
    share: float = 0.5
    workers: int = execution(4)
    endpoint: Endpoint = Endpoint()


class Whole(Settings):
    name: str = "x"
    folder: Path = execution(Path("runs"))
    part: Part = Part()
    many: tuple[Part, ...] = (Part(),)
    named: dict[str, Part] = Field(default_factory=dict)
    anywhere: Endpoint = execution(Endpoint())


def test_execution_fields_are_left_out_at_any_depth():
    part = {"share": 0.5, "endpoint": {"model": "m"}}
    whole = Whole(named={"a": Part(workers=9)})
    assert whole.identity() == {"name": "x", "part": part, "many": [part], "named": {"a": part}}


def test_workers_urls_and_folders_keep_the_fingerprint():
    elsewhere = Whole(
        folder=Path("/elsewhere"),
        part=Part(workers=64, endpoint=Endpoint(base_url="http://10.0.0.1/v1")),
        many=(Part(workers=1),),
        anywhere=Endpoint(model="other"),
    )
    assert fingerprint(elsewhere.identity()) == fingerprint(Whole().identity())


@pytest.mark.parametrize(
    "other",
    [
        Whole(name="y"),
        Whole(part=Part(share=0.4)),
        Whole(part=Part(endpoint=Endpoint(model="n"))),
        Whole(many=(Part(), Part())),
        Whole(named={"a": Part()}),
    ],
)
def test_what_changes_the_result_changes_the_fingerprint(other: Whole):
    assert fingerprint(other.identity()) != fingerprint(Whole().identity())


def test_one_and_one_point_zero_are_the_same_share():
    assert fingerprint(Part(share=1).identity()) == fingerprint(Part(share=1.0).identity())


def test_a_path_in_the_identity_is_refused_where_it_is_fingerprinted():
    class Careless(Settings):
        folder: Path = Path("runs")

    with pytest.raises(TypeError, match="cannot fingerprint PosixPath"):
        fingerprint(Careless().identity())


def test_an_unknown_key_is_an_error():
    with pytest.raises(ValidationError, match="shere"):
        Part.model_validate({"shere": 0.4})


def test_settings_cannot_be_changed_after_they_were_made():
    with pytest.raises(ValidationError, match="frozen"):
        Part().share = 0.1  # type: ignore[misc]


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_number_is_finite(value):
    with pytest.raises(ValidationError, match="finite"):
        Part(share=value)


def test_a_required_execution_field_is_required():
    class Needs(Settings):
        url: str = execution()

    with pytest.raises(ValidationError, match="url"):
        Needs.model_validate({})
    assert Needs(url="http://x").identity() == {}


def test_constraints_of_an_execution_field_hold():
    class Bounded(Settings):
        workers: int = execution(1, ge=1)

    with pytest.raises(ValidationError, match="workers"):
        Bounded(workers=0)

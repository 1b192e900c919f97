"""The base of every settings class: strict, frozen, and helpful about typos.

Settings live beside the code that reads them (`mix/settings.py`, ...); `recipe.py` composes them.
Fields that change no result (worker counts, URLs) are marked `execution()`: they never reach a
fingerprint.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

_EXECUTION: JsonDict = {"execution": True}


def execution(default: Any = ..., **kwargs: Any) -> Any:
    """A field that says where or how fast, never what: left out of `identity()`."""
    return Field(default, json_schema_extra=_EXECUTION, **kwargs)


class Settings(BaseModel):
    """Frozen settings; an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )

    def identity(self) -> dict[str, Any]:
        """What changes the result, as plain values; execution fields are left out, at any depth."""
        found: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            if field.json_schema_extra == _EXECUTION:
                continue
            found[name] = _plain(getattr(self, name))
        return found


def _plain(value: Any) -> Any:
    if isinstance(value, Settings):
        return value.identity()
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value

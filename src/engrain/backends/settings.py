"""Which language model writes, where it is, and what it charges.

Knows no backend class: `pipeline.py` builds the one that is named here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from engrain.settings import Settings, execution

if TYPE_CHECKING:
    # Recipes import this file, and `base` would bring pyarrow with it.
    from engrain.backends.base import Usage

_MILLION = 1_000_000


class Price(Settings):
    """US dollars per million tokens."""

    prompt: float = Field(ge=0)
    completion: float = Field(ge=0)
    cached: float | None = Field(None, ge=0)
    """For prompt tokens read from the prefix cache; None: as any other prompt token."""

    def cost(self, usage: Usage) -> float:
        """What these tokens cost, in US dollars."""
        cached = self.prompt if self.cached is None else self.cached
        fresh_tokens = usage.prompt_tokens - usage.cached_prompt_tokens
        spent = (
            fresh_tokens * self.prompt
            + usage.cached_prompt_tokens * cached
            + usage.completion_tokens * self.completion
        )
        return spent / _MILLION


class GeneratorSettings(Settings):
    """The generator of a run."""

    backend: Literal["openai", "transformers", "testbed"] = "openai"
    model: str = ""
    """The model's name as the endpoint knows it, or a folder or hub name for `transformers`."""
    strength: Literal["weak", "medium", "strong"] = "strong"
    """Only for `testbed`: how good its writer is."""
    base_url: str | None = execution(None)
    """The endpoint, up to and including `/v1`; None: the OpenAI API."""
    api_key_env: str = execution("OPENAI_API_KEY")
    """Name of the environment variable that holds the key. The key itself is never written
    anywhere."""
    concurrency: int = execution(64, ge=1)
    """Requests in flight."""
    timeout: float = execution(600.0, gt=0)
    """Seconds without a byte from the server after which a request is tried again."""
    price: Price | None = execution(None)
    """For costs and for `budget.usd`; None: costs are not counted."""

    @model_validator(mode="after")
    def _named(self) -> GeneratorSettings:
        if self.backend != "testbed" and not self.model:
            raise ValueError(
                "generator.model is missing; "
                f"name the model that backend {self.backend!r} should use"
            )
        return self

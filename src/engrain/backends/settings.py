"""Which language model writes, where it is, and what it charges.

Knows no backend class: `pipeline.py` builds the one that is named here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue, model_validator

from engrain.backends.urls import check
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


DEFAULT_URL = "https://api.openai.com/v1"
# The client opens no more connections to one endpoint.
MOST_IN_FLIGHT = 1000

# Checked by itself and first, so that no other error can show an address with a password.
Address = Annotated[str, AfterValidator(check)]


class EndpointSettings(Settings):
    """One place where the model is served."""

    base_url: Address = execution(DEFAULT_URL)
    """Up to and including `/v1`."""
    api_key_env: str = execution("OPENAI_API_KEY")
    """Name of the environment variable that holds the key."""
    concurrency: int = execution(64, ge=1, le=MOST_IN_FLIGHT)
    """The most requests in flight; how many there are follows how the endpoint answers."""
    requests_per_minute: int | None = execution(None, ge=1)
    """In any minute, tries again included; None: no limit."""
    tokens_per_minute: int | None = execution(None, ge=1)
    """Of prompts and replies, in any minute; None: no limit."""


# What OpenAI takes as one batch.
MOST_IN_BATCH = 50_000


class BatchSettings(Settings):
    """How requests are put into batches, which cost half as much and take up to 24 hours."""

    most: int = execution(10_000, ge=1, le=MOST_IN_BATCH)
    """Requests in one batch, and in flight; for `ray`, in one dataset."""
    fewest: int = execution(100, ge=1)
    """Fewer than so many at a time are asked directly, at the full price, as is the first one of a
    run; 1: everything goes into batches."""
    poll_seconds: float = execution(60.0, gt=0)
    """The longest time between two looks at a batch."""

    @model_validator(mode="after")
    def _worth_it(self) -> BatchSettings:
        if self.fewest > self.most:
            raise ValueError(
                f"generator.batch.fewest is {self.fewest} and most is {self.most}, so that nothing "
                "would go into a batch; set most above fewest"
            )
        return self


class GeneratorSettings(Settings):
    """The generator of a run."""

    backend: Literal["openai", "openai-batch", "transformers", "vllm", "ray", "testbed"] = "openai"
    """`openai`: any OpenAI-compatible endpoint; `openai-batch`: its batch API; `transformers`,
    `vllm`: a model in this process; `ray`: Ray Data, whose workers ask `base_url`, or hold vLLM
    engines where there is none."""
    model: str = ""
    """The model's name as the endpoint knows it, or a folder or hub name for `transformers`."""
    strength: Literal["weak", "medium", "strong"] = "strong"
    """Only for `testbed`: how good its writer is."""
    base_url: Address | None = execution(None)
    """The endpoint, up to and including `/v1`; None: the OpenAI API."""
    api_key_env: str = execution("OPENAI_API_KEY")
    """Name of the environment variable that holds the key. The key itself is never written
    anywhere."""
    concurrency: int = execution(64, ge=1, le=MOST_IN_FLIGHT)
    """The most requests in flight; how many there are follows how the endpoint answers."""
    requests_per_minute: int | None = execution(None, ge=1)
    """In any minute, tries again included; None: no limit."""
    tokens_per_minute: int | None = execution(None, ge=1)
    """Of prompts and replies, in any minute; None: no limit."""
    endpoints: tuple[EndpointSettings, ...] = execution(())
    """Several places that serve the same model, used at once; the fields above then stay unset."""
    batch: BatchSettings = execution(BatchSettings())
    """Only for `openai-batch`, and `most` for `ray`."""
    replicas: int = execution(1, ge=1)
    """Only for `ray`: workers, or engines."""
    engine: dict[str, JsonValue] = execution({})
    """Only for `vllm` and `ray`: arguments of the engine, such as `tensor_parallel_size`. They are
    no part of a run's identity: name a quantised model by a name of its own."""
    local_only: bool = execution(False)
    """Refuse every endpoint that is not on this machine."""
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

    @model_validator(mode="after")
    def _reachable(self) -> GeneratorSettings:
        alone = [name for name in EndpointSettings.model_fields if name in self.model_fields_set]
        alone = [name for name in alone if getattr(self, name) != _default(name)]
        if self.endpoints and alone:
            raise ValueError(
                f"generator.endpoints stands beside generator.{alone[0]}; "
                f"set {alone[0]} in each of the endpoints, and only there"
            )
        if self.backend in ("openai-batch", "ray") and len(self.served_at()) > 1:
            raise ValueError(
                f"generator.endpoints names {len(self.endpoints)} places, and backend "
                f"{self.backend!r} uses one; keep only that"
            )
        if self.backend in ("openai", "openai-batch") or (self.backend == "ray" and self.base_url):
            for endpoint in self.served_at():
                check(endpoint.base_url, local_only=self.local_only)
        return self

    def served_at(self) -> tuple[EndpointSettings, ...]:
        """Every endpoint, the only one included."""
        if self.endpoints:
            return self.endpoints
        return (
            EndpointSettings(
                base_url=self.base_url or DEFAULT_URL,
                api_key_env=self.api_key_env,
                concurrency=self.concurrency,
                requests_per_minute=self.requests_per_minute,
                tokens_per_minute=self.tokens_per_minute,
            ),
        )

    def at_a_time(self) -> int:
        """Requests that a stage should keep at hand.

        With several endpoints a quarter more than can be in flight, so that an endpoint with room
        finds one that prefers it. With a batch API or Ray as many as fill a batch.
        """
        if self.backend in ("openai-batch", "ray"):
            return self.batch.most
        everywhere = sum(endpoint.concurrency for endpoint in self.served_at())
        return everywhere if len(self.served_at()) == 1 else everywhere + everywhere // 4


def _default(name: str) -> object:
    return GeneratorSettings.model_fields[name].default

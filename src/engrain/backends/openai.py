"""One OpenAI-compatible endpoint as a backend, for Python: recipes name theirs in settings."""

from __future__ import annotations

from engrain.backends.endpoint import Endpoint
from engrain.backends.pool import ATTEMPTS, FIRST_WAIT, Pool
from engrain.backends.settings import DEFAULT_URL, EndpointSettings


def openai_backend(
    *,
    model: str,
    base_url: str | None = None,
    api_key_env: str = "OPENAI_API_KEY",
    concurrency: int = 64,
    timeout: float = 600.0,
    attempts: int = ATTEMPTS,
    first_wait: float = FIRST_WAIT,
) -> Pool:
    """A pool of one endpoint; connects to nothing yet.

    Args:
        model: Its name at the endpoint.
        base_url: Up to and including `/v1`; None: the OpenAI API.
        api_key_env: Environment variable with the key. May be unset for a server that wants none.
        concurrency: The most requests in flight.
        timeout: Seconds without a byte from the server after which a request is tried again.
        attempts: How often one request is tried.
        first_wait: Seconds before the second attempt; doubled for each further one.
    """
    place = EndpointSettings(
        base_url=base_url or DEFAULT_URL, api_key_env=api_key_env, concurrency=concurrency
    )
    endpoint = Endpoint(place, model=model, timeout=timeout)
    return Pool([endpoint], attempts=attempts, first_wait=first_wait)

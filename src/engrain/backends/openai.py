"""A single OpenAI-compatible endpoint as a backend: a pool of one."""

from __future__ import annotations

from engrain.backends.base import Reply, Request
from engrain.backends.endpoint import Endpoint
from engrain.backends.pool import ATTEMPTS, FIRST_WAIT, Pool
from engrain.backends.settings import DEFAULT_URL, EndpointSettings


class OpenAIBackend:
    """A chat-completions endpoint; what it does about failures is `Pool`'s."""

    def __init__(
        self,
        *,
        model: str,
        base_url: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        concurrency: int = 64,
        timeout: float = 600.0,
        attempts: int = ATTEMPTS,
        first_wait: float = FIRST_WAIT,
    ) -> None:
        """Connect to nothing yet.

        Args:
            model: Its name at the endpoint.
            base_url: Up to and including `/v1`; None: the OpenAI API.
            api_key_env: Environment variable with the key. May be unset for a server that wants
            none.
            concurrency: The most requests in flight.
            timeout: Seconds without a byte after which a request is tried again.
            attempts: How often one request is tried.
            first_wait: Seconds before the second attempt; doubled for each further one.
        """
        place = EndpointSettings(
            base_url=base_url or DEFAULT_URL, api_key_env=api_key_env, concurrency=concurrency
        )
        endpoint = Endpoint(place, model=model, timeout=timeout)
        self._pool = Pool([endpoint], attempts=attempts, first_wait=first_wait)

    @property
    def model(self) -> str:
        """The model's name at the endpoint."""
        return self._pool.model

    async def complete(self, request: Request) -> Reply:
        """Answer one request, with retries."""
        return await self._pool.complete(request)

    async def check(self) -> None:
        """Find out, with at most one tiny request, what would make every request fail.

        Raises EndpointError where nobody listens, the key is refused or the model is unknown.
        """
        await self._pool.check()

    async def aclose(self) -> None:
        """Close the connections; a later request opens new ones."""
        await self._pool.aclose()

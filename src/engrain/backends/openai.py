"""Any OpenAI-compatible endpoint, through the official client with its aiohttp transport.

Knows HTTP, retries and what the statuses mean; knows nothing of the ledger or of what is asked. All
retrying happens here (the client's own is off), because only here Retry-After, refusals and broken
bodies are told apart.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import os
import random
import time
from typing import Any

import aiohttp
import openai
from openai.types.chat import ChatCompletion

from engrain.backends.base import FinishReason, Message, Reply, Request, Sampling, Usage
from engrain.errors import EndpointError, RequestError

DEFAULT_URL = "https://api.openai.com/v1"

_RETRIED = frozenset({408, 409, 425, 429})
_FINISHED: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
}
# Seconds: the first wait, doubled each time up to the last; and the longest Retry-After that is
# obeyed.
_FIRST_WAIT, _LONGEST_WAIT, _LONGEST_RETRY_AFTER = 0.5, 30.0, 300.0
_CONNECT_TIMEOUT = 15.0
_SHOWN_MODELS = 8


class OpenAIBackend:
    """A chat-completions endpoint.

    A request is tried `attempts` times: again after 408, 409, 425, 429, 5xx, timeouts, lost
    connections and bodies that are not JSON. It raises EndpointError where nothing would help:
    nobody listens, a refused key, an unknown model, a spent quota. The sample index is sent as
    `seed`, so that repeats differ where the server honours it; a server that rejects the field is
    asked without it.
    """

    def __init__(
        self,
        *,
        model: str,
        base_url: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        timeout: float = 600.0,
        attempts: int = 7,
        first_wait: float = _FIRST_WAIT,
    ) -> None:
        """Connect to nothing yet.

        Args:
            model: Its name at the endpoint.
            base_url: Up to and including `/v1`; None: the OpenAI API.
            api_key_env: Environment variable with the key. May be unset for a server that wants
            none.
            timeout: Seconds without a byte after which a request is tried again.
            attempts: How often one request is tried.
            first_wait: Seconds before the second attempt; doubled for each further one.
        """
        self._model = model
        self._url = base_url or DEFAULT_URL
        self._key_env = api_key_env
        self._timeout = timeout
        self._attempts = attempts
        self._first_wait = first_wait
        # Spreads the retries of many requests over time; no result depends on it.
        self._jitter = random.Random()
        self._client: openai.AsyncOpenAI | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._answered = False
        self._send_seed = True
        self._seed_taken = False
        self._limit_field = "max_tokens"

    @property
    def model(self) -> str:
        """The model's name at the endpoint."""
        return self._model

    async def complete(self, request: Request) -> Reply:
        """Answer one request, with retries."""
        for attempt in range(1, self._attempts + 1):
            try:
                reply = await self._ask(request)
            except openai.APIStatusError as error:
                reason = await self._judge(error)
                wait = _retry_after(error.response.headers.get("retry-after"))
            except openai.APIConnectionError as error:
                if _unreachable(error) and (not self._answered or attempt == self._attempts):
                    raise self._nobody() from error
                reason, wait = f"lost the connection ({_cause(error)})", None
            except (json.JSONDecodeError, openai.APIResponseValidationError, _BadBody) as error:
                reason, wait = f"the body is not a chat completion ({error})", None
            else:
                self._answered = True
                return reply
            if attempt < self._attempts:
                await asyncio.sleep(self._wait(attempt) if wait is None else wait)
        raise RequestError(f"{self._url} failed {self._attempts} times, the last time so: {reason}")

    async def check(self) -> None:
        """Find out, with at most one tiny request, what would make every request fail.

        Raises EndpointError where nobody listens, the key is refused or the model is unknown.
        """
        try:
            if self._model in await self._models():
                return
            # Not every server lists all names it answers to (aliases, adapters, models loaded on
            # demand): ask one thing.
            probe = Request(messages=(Message("user", "Hi"),), sampling=Sampling(max_tokens=1))
            await self.complete(probe)
        except RequestError as error:
            raise EndpointError(
                f"{error}; try again later, or choose another endpoint or model"
            ) from error
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; a later request opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _ask(self, request: Request) -> Reply:
        fields = self._fields(request)
        create = self._connected().chat.completions.create
        try:
            completion = await create(**fields)
            self._seed_taken = self._seed_taken or "seed" in fields
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            if error.param == "max_tokens" and "max_tokens" in fields:
                # OpenAI's own newer models take only the newer name.
                self._limit_field = "max_completion_tokens"
                return await self._ask(request)
            if "seed" not in fields or self._seed_taken:
                raise
            # Servers name the field that they reject in many ways or not at all: a second answer
            # tells.
            del fields["seed"]
            completion = await create(**fields)
            self._send_seed = False
        return _reply(completion)

    def _fields(self, request: Request) -> dict[str, Any]:
        sampling = request.sampling
        fields: dict[str, Any] = {
            "model": self._model,
            "messages": [
                {"role": message.role, "content": message.content} for message in request.messages
            ],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            self._limit_field: sampling.max_tokens,
        }
        if self._send_seed:
            fields["seed"] = request.sample
        return fields

    def _connected(self) -> openai.AsyncOpenAI:
        # Connections belong to the event loop that opened them, and every stage runs its own.
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._loop = loop
            timeout = openai.Timeout(self._timeout, connect=_CONNECT_TIMEOUT)
            self._client = openai.AsyncOpenAI(
                # A server that wants no key still gets one, as the client insists on it.
                api_key=os.environ.get(self._key_env) or "none",
                base_url=self._url,
                max_retries=0,
                timeout=timeout,
                http_client=openai.DefaultAioHttpClient(timeout=timeout),
            )
        return self._client

    async def _judge(self, error: openai.APIStatusError) -> str:
        """Why to try again; raises where trying again would not help."""
        status = error.status_code
        if status in (401, 403):
            state = (
                "the key in it was refused" if os.environ.get(self._key_env) else "it is not set"
            )
            raise EndpointError(
                f"{self._url} answered {status}: set the environment variable "
                f"{self._key_env!r} ({state})"
            )
        if status == 404 or error.code == "model_not_found":
            raise await self._unknown() from error
        if status == 402 or error.code == "insufficient_quota":
            raise EndpointError(
                f"{self._url} says that the quota of this key is spent; add credit and run again"
            )
        if status in _RETRIED or status >= 500:
            self._answered = True
            return f"status {status}"
        raise RequestError(f"{self._url} answered {status}: {_short(error.message)}") from error

    async def _unknown(self) -> EndpointError:
        try:
            models = await self._models()
        except EndpointError:
            models = []
        if not models:
            return EndpointError(
                f"{self._url} answered 404 for model {self._model!r}; check the model's name, and "
                "that base_url ends as the server wants it (mostly in /v1)"
            )
        shown = ", ".join(repr(name) for name in models[:_SHOWN_MODELS])
        more = f" and {len(models) - _SHOWN_MODELS} more" if len(models) > _SHOWN_MODELS else ""
        return EndpointError(
            f"{self._url} does not know model {self._model!r}; it offers {shown}{more}"
        )

    async def _models(self) -> list[str]:
        """Names the server lists; empty where it lists none."""
        try:
            page = await self._connected().models.list()
        except openai.APIConnectionError as error:
            raise self._nobody() from error
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            await self._judge(error)
            raise
        except (openai.APIStatusError, json.JSONDecodeError, openai.APIResponseValidationError):
            return []
        return sorted(entry.id for entry in page.data)

    def _nobody(self) -> EndpointError:
        return EndpointError(
            f"nobody answers at {self._url}; start the server there, or correct base_url"
        )

    def _wait(self, attempt: int) -> float:
        longest = min(_LONGEST_WAIT, self._first_wait * 2 ** (attempt - 1))
        return float(longest) * self._jitter.uniform(0.75, 1.0)


class _BadBody(Exception):
    """A body with a good status that is not a chat completion."""


def _reply(completion: object) -> Reply:
    # The client hands on a body that is not JSON (a proxy's error page) as it is.
    if not isinstance(completion, ChatCompletion):
        raise _BadBody(_short(repr(completion)))
    if not completion.choices:
        raise RequestError("the reply has no choices")
    choice = completion.choices[0]
    return Reply(
        text=choice.message.content or "",
        finish_reason=_FINISHED.get(choice.finish_reason, "other"),
        usage=_usage(completion),
    )


def _usage(completion: ChatCompletion) -> Usage:
    usage = completion.usage
    if usage is None:
        return Usage()
    details = usage.prompt_tokens_details
    return Usage(
        prompt_tokens=usage.prompt_tokens,
        cached_prompt_tokens=(details.cached_tokens if details is not None else None) or 0,
        completion_tokens=usage.completion_tokens,
    )


def _unreachable(error: BaseException) -> bool:
    """Whether no connection could be made at all: refused, or no such host."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, aiohttp.ClientConnectorError):
            return True
        cause = cause.__cause__
    return False


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {_short(str(error))}"


def _retry_after(header: str | None) -> float | None:
    """Seconds, from either form of the header; None where it is missing, odd or too long."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except ValueError:
            return None
    return seconds if 0 <= seconds <= _LONGEST_RETRY_AFTER else None


def _short(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."

"""A fake for unit tests: replies come from a function of the request, or from a list.

Goes down the production path: it is a `Backend` like any other, and may raise what they raise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engrain.backends.base import Reply, Request, Usage
from engrain.errors import RequestError


class ScriptedBackend:
    """Replies as told; remembers in `requests` what it was asked, in order of arrival.

    `script` is a function of the request, or a list of replies that are given in order of arrival;
    when the list is spent, requests fail. A plain string stands for a finished reply; tokens are
    counted as words.
    """

    def __init__(
        self,
        script: Callable[[Request], Reply | str] | Sequence[Reply | str],
        *,
        model: str = "scripted",
    ) -> None:
        """Take the script and the model's name."""
        self._script = script
        self._model = model
        self.requests: list[Request] = []

    @property
    def model(self) -> str:
        """The name it was given."""
        return self._model

    async def complete(self, request: Request) -> Reply:
        """The next reply of the script."""
        self.requests.append(request)
        if callable(self._script):
            reply = self._script(request)
        elif len(self.requests) <= len(self._script):
            reply = self._script[len(self.requests) - 1]
        else:
            raise RequestError(
                f"the script has {len(self._script)} replies, "
                f"and this is request {len(self.requests)}"
            )
        return reply if isinstance(reply, Reply) else _reply(request, reply)

    async def aclose(self) -> None:
        """Nothing to free."""


def _reply(request: Request, text: str) -> Reply:
    prompt_tokens = sum(len(message.content.split()) for message in request.messages)
    usage = Usage(prompt_tokens=prompt_tokens, completion_tokens=len(text.split()))
    return Reply(text=text, finish_reason="stop", usage=usage)

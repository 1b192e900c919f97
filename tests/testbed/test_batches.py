"""The testbed's batch API, asked by the official OpenAI client over loopback."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import openai
import pytest
from openai.types import Batch

from engrain.backends.scripted import ScriptedBackend
from engrain.testbed.server import Faults, serving

CHATS = "/v1/chat/completions"


@pytest.fixture
def connect() -> Iterator[Callable[..., openai.OpenAI]]:
    with ExitStack() as open_:

        def start(**faults: Any) -> openai.OpenAI:
            echo = ScriptedBackend(lambda request: request.messages[-1].content, model="echo")
            url = open_.enter_context(serving(echo, Faults(**faults)))
            return open_.enter_context(openai.OpenAI(base_url=url, api_key="x", max_retries=0))

        yield start


def line(name: str, content: str = "hello", **changes: object) -> dict[str, Any]:
    body = {"model": "echo", "messages": [{"role": "user", "content": content}]}
    return {"custom_id": name, "method": "POST", "url": CHATS, "body": body} | changes


def send(client: openai.OpenAI, *lines: dict[str, Any], **metadata: str) -> Batch:
    content = "\n".join(map(json.dumps, lines)).encode()
    file = client.files.create(file=("in.jsonl", content), purpose="batch")
    return client.batches.create(
        completion_window="24h",
        endpoint="/v1/chat/completions",
        input_file_id=file.id,
        metadata=metadata,
    )


def ended(client: openai.OpenAI, batch: Batch) -> Batch:
    while batch.status in ("validating", "in_progress", "cancelling"):
        time.sleep(0.01)
        batch = client.batches.retrieve(batch.id)
    return batch


def results(client: openai.OpenAI, file: str | None) -> dict[str, dict[str, Any]]:
    if file is None:
        return {}
    rows = [json.loads(row) for row in client.files.content(file).content.split(b"\n")]
    return {row["custom_id"]: row for row in rows}


def test_every_request_of_a_batch_is_answered_under_its_own_name(connect):
    client = connect()
    sent = send(client, *(line(f"r{n}", f"number {n}") for n in range(20)), mark="ours")
    assert (sent.status, sent.metadata) == ("validating", {"mark": "ours"})
    batch = ended(client, sent)
    assert batch.status == "completed" and batch.error_file_id is None
    assert batch.request_counts is not None and batch.request_counts.completed == 20
    found = results(client, batch.output_file_id)
    assert list(found) == [f"r{n}" for n in reversed(range(20))]
    for n in range(20):
        body = found[f"r{n}"]["response"]["body"]
        assert body["choices"][0]["message"]["content"] == f"number {n}"


def test_a_request_that_fails_is_in_the_file_of_errors_with_its_status(connect):
    client = connect()
    batch = ended(client, send(client, line("good"), line("bad", body={"model": "other"})))
    assert list(results(client, batch.output_file_id)) == ["good"]
    (bad,) = results(client, batch.error_file_id).values()
    assert bad["response"]["status_code"] == 404
    assert bad["response"]["body"]["error"]["code"] == "model_not_found"


def test_a_batch_that_expires_has_what_was_answered_and_names_the_rest(connect):
    client = connect(batch_expires=0.5)
    batch = ended(client, send(client, *(line(f"r{n}") for n in range(6))))
    assert batch.status == "expired"
    assert set(results(client, batch.output_file_id)) == {"r0", "r1", "r2"}
    late = results(client, batch.error_file_id)
    assert {row["error"]["code"] for row in late.values()} == {"batch_expired"}
    assert set(late) == {"r3", "r4", "r5"}


def test_a_batch_can_be_cancelled_and_keeps_what_was_answered(connect):
    client = connect(batch_seconds=0.05)
    batch = send(client, *(line(f"r{n}") for n in range(50)))
    while not (counts := client.batches.retrieve(batch.id).request_counts) or not counts.completed:
        time.sleep(0.01)
    client.batches.cancel(batch.id)
    batch = ended(client, client.batches.retrieve(batch.id))
    assert batch.status == "cancelled"
    good, bad = (results(client, file) for file in (batch.output_file_id, batch.error_file_id))
    assert 0 < len(good) < 50 and len(good) + len(bad) == 50


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((line("a"), line("a")), "custom_id of its own"),
        ((line("a", url="/v1/embeddings"),), "Each line needs method POST"),
        ((), "1 to 50000 requests"),
    ],
)
def test_an_input_that_is_not_as_it_should_be_fails_the_batch(connect, lines, words):
    client = connect()
    batch = ended(client, send(client, *lines))
    assert batch.status == "failed"
    assert batch.errors is not None and batch.errors.data is not None
    assert words in str(batch.errors.data[0].message)


def test_more_requests_than_the_queue_takes_fail_the_batch(connect):
    client = connect(batch_queue=5, batch_seconds=0.7)
    first = send(client, *(line(f"a{n}") for n in range(3)))
    while client.batches.retrieve(first.id).status != "in_progress":
        time.sleep(0.01)
    second = ended(client, send(client, *(line(f"b{n}") for n in range(3))))
    assert second.errors is not None and second.errors.data is not None
    assert second.errors.data[0].code == "token_limit_exceeded"
    assert ended(client, first).status == "completed"


def test_batches_are_listed_page_by_page_the_latest_first(connect):
    client = connect()
    made = [send(client, line("a")).id for _ in range(7)]
    assert [batch.id for batch in client.batches.list(limit=3)] == made[::-1]


def test_what_is_not_there_is_not_found_and_a_file_without_a_purpose_is_refused(connect):
    client = connect()
    for call in (
        lambda: client.batches.retrieve("batch_0"),
        lambda: client.batches.cancel("batch_0"),
        lambda: client.files.content("file-0"),
        lambda: client.files.delete("file-0"),
    ):
        with pytest.raises(openai.NotFoundError):
            call()
    with pytest.raises(openai.BadRequestError, match="No such File object"):
        client.batches.create(
            completion_window="24h", endpoint="/v1/chat/completions", input_file_id="file-0"
        )
    with pytest.raises(openai.BadRequestError, match="purpose `batch` only"):
        client.files.create(file=("in.jsonl", b"{}"), purpose="evals")


def test_a_deleted_file_is_gone_and_no_batch_can_be_made_of_it(connect):
    client = connect()
    file = client.files.create(file=("in.jsonl", json.dumps(line("a")).encode()), purpose="batch")
    assert client.files.content(file.id).content == json.dumps(line("a")).encode()
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.BadRequestError):
        client.batches.create(
            completion_window="24h", endpoint="/v1/chat/completions", input_file_id=file.id
        )

"""The backend that a recipe's generator names.

Each backend is imported where it is built: torch, openai and the engines take seconds to load.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engrain.backends.base import Backend
from engrain.backends.settings import GeneratorSettings
from engrain.models import model_identity


def build_generator(
    settings: GeneratorSettings, *, seed: int, folder: Path, say: Callable[[str], None]
) -> Backend:
    """The backend that a recipe's generator names; it connects to nothing before its first request.

    So a finished synthesis needs no endpoint; and an endpoint that would refuse everything
    (unreachable, wrong key, unknown model) refuses the first request, before anything is paid for.

    Args:
        settings: The recipe's.
        seed: Of the testbed's writer.
        folder: Of the ledger; a batch API's backend notes its batches there.
        say: Receives what a user should hear of them.
    """
    if settings.backend == "testbed":
        from engrain.testbed.writer import STRENGTHS, Writer

        return Writer(strength=STRENGTHS[settings.strength], seed=seed)
    if settings.backend == "transformers":
        from engrain.backends.transformers import TransformersBackend

        return TransformersBackend(model=settings.model, name=model_identity(settings.model))
    if settings.backend == "vllm":
        from engrain.backends.vllm import VLLMBackend

        name = model_identity(settings.model)
        return VLLMBackend(model=settings.model, engine=settings.engine, name=name)
    if settings.backend == "ray" and not settings.asks_endpoints():
        from engrain.backends.ray import RayBackend

        return RayBackend(
            model=settings.model,
            replicas=settings.replicas,
            engine=settings.engine,
            name=model_identity(settings.model),
        )
    from engrain.backends.endpoint import Endpoint
    from engrain.backends.pool import Pool

    endpoints = [
        Endpoint(
            endpoint,
            model=settings.model,
            timeout=settings.timeout,
            local_only=settings.local_only,
        )
        for endpoint in settings.served_at()
    ]
    if settings.backend == "ray":
        from engrain.backends.ray import RayBackend

        return RayBackend(model=settings.model, endpoint=endpoints[0], replicas=settings.replicas)
    if settings.backend == "openai-batch":
        from engrain.backends.batch import BatchBackend

        return BatchBackend(endpoints[0], folder, settings.batch, say=say)
    return Pool(endpoints)

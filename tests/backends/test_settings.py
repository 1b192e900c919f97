"""The generator's settings: what may stand together, and which addresses are refused."""

from __future__ import annotations

import traceback

import pytest
from pydantic import ValidationError

from engrain.backends.endpoint import Endpoint
from engrain.backends.settings import EndpointSettings, GeneratorSettings
from engrain.errors import UserError
from engrain.generators import build_generator

HERE = "http://127.0.0.1:8000/v1"


def test_where_and_how_fast_is_no_part_of_the_identity():
    elsewhere = GeneratorSettings(
        model="m",
        endpoints=(EndpointSettings(base_url=HERE, tokens_per_minute=5),),
        local_only=True,
    )
    assert elsewhere.identity() == GeneratorSettings(model="m").identity()


@pytest.mark.parametrize(
    "beside",
    [{"base_url": HERE}, {"api_key_env": "KEY"}, {"concurrency": 8}, {"requests_per_minute": 9}],
)
def test_what_belongs_to_one_endpoint_may_not_stand_beside_several(beside):
    (name,) = beside
    with pytest.raises(ValidationError, match=f"set {name} in each of the endpoints"):
        GeneratorSettings(model="m", endpoints=(EndpointSettings(base_url=HERE),), **beside)


def test_a_recipe_with_every_setting_spelt_out_is_read_again():
    settings = GeneratorSettings(model="m", endpoints=(EndpointSettings(base_url=HERE),))
    assert GeneratorSettings.model_validate(settings.model_dump()) == settings


def test_without_several_the_single_endpoint_has_the_generators_own_settings():
    settings = GeneratorSettings(
        model="m", base_url=HERE, api_key_env="K", concurrency=9, tokens_per_minute=7
    )
    (place,) = settings.served_at()
    assert place == EndpointSettings(
        base_url=HERE, api_key_env="K", concurrency=9, tokens_per_minute=7
    )
    assert settings.at_a_time() == 9


def test_with_several_endpoints_a_stage_keeps_more_requests_at_hand_than_can_be_in_flight():
    places = (
        EndpointSettings(base_url=HERE, concurrency=40),
        EndpointSettings(base_url=HERE, concurrency=60, api_key_env="ANOTHER_ACCOUNT"),
    )
    assert GeneratorSettings(model="m", endpoints=places).at_a_time() == 125


@pytest.mark.parametrize(
    "url",
    [
        "http://user:secret-word@127.0.0.1:8000/v1",
        "https://host.example/v1?api-key=secret-word",
        "http://secret-word@[broken/v1",
        "secret-word@host:8000/v1",
    ],
)
def test_an_address_with_a_password_is_refused_without_showing_it(url):
    for make in (
        lambda: GeneratorSettings(base_url=url),
        lambda: GeneratorSettings(model="m", endpoints=({"base_url": url},)),
        lambda: Endpoint(EndpointSettings.model_construct(base_url=url), model="m"),
    ):
        with pytest.raises(UserError) as caught:
            make()
        shown = "".join(traceback.format_exception(caught.value))
        # The line of source above names the variable, never its value.
        assert "secret-word" not in str(caught.value)
        assert "secret-word" not in shown


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000/v1",
        "ftp://host/v1",
        "http://",
        "nonsense",
        "http://ho st/v1",
        "http://host/v1\n",
        "http://a..b/v1",
    ],
)
def test_an_address_of_another_kind_is_refused(url):
    with pytest.raises(UserError, match="write one such as"):
        GeneratorSettings(model="m", base_url=url)


@pytest.mark.parametrize(
    "url",
    [
        None,
        "https://api.example.com/v1",
        "http://10.0.0.7:8000/v1",
        "http://0.0.0.0:8000/v1",
        "http://127.0.0.1.example.com/v1",
        "http://localhost.example.com/v1",
        "http://[::2]:8000/v1",
    ],
)
def test_local_only_refuses_every_endpoint_that_is_not_on_this_machine(url):
    shown = url or "https://api.openai.com/v1"
    with pytest.raises(UserError, match="local_only") as caught:
        GeneratorSettings(model="m", base_url=url, local_only=True)
    assert repr(shown) in str(caught.value)
    if url is not None:
        with pytest.raises(UserError, match="local_only"):
            GeneratorSettings(
                model="m", local_only=True, endpoints=({"base_url": HERE}, {"base_url": url})
            )


@pytest.mark.parametrize(
    "url", [HERE, "http://127.8.9.1:1/v1", "http://[::1]:8000/v1", "http://LOCALHOST:8000/v1"]
)
def test_local_only_admits_the_endpoints_of_this_machine(url):
    assert GeneratorSettings(model="m", base_url=url, local_only=True).local_only


@pytest.mark.parametrize("backend", ["transformers", "testbed"])
def test_backends_of_this_process_are_local_whatever_the_address(backend):
    model = "" if backend == "testbed" else "m"
    assert GeneratorSettings(model=model, backend=backend, local_only=True).local_only


@pytest.mark.parametrize(
    ("backend", "name", "value"),
    [
        ("testbed", "model", "m"),
        ("openai", "strength", "weak"),
        ("transformers", "base_url", HERE),
        ("vllm", "api_key_env", "KEY"),
        ("transformers", "endpoints", ({"base_url": HERE},)),
        ("ray", "endpoints", ({"base_url": HERE},)),
        ("ray", "concurrency", 8),
        ("transformers", "requests_per_minute", 9),
        ("ray", "tokens_per_minute", 9),
        ("vllm", "timeout", 5.0),
        ("openai", "batch", {"most": 200}),
        ("ray", "batch", {"fewest": 2}),
        ("openai", "batch", {"poll_seconds": 2}),
        ("openai-batch", "replicas", 2),
        ("openai", "engine", {"tensor_parallel_size": 2}),
    ],
)
def test_a_setting_that_the_backend_would_not_read_is_refused(backend, name, value):
    model = {} if backend == "testbed" else {"model": "m"}
    wanted = (
        rf"generator\.{name}(\.\w+)? is a setting of backend .*, not of '{backend}'; take it out"
    )
    with pytest.raises(ValidationError, match=wanted):
        GeneratorSettings.model_validate({"backend": backend, **model, name: value})


@pytest.mark.parametrize("backend", ["openai", "openai-batch", "transformers", "vllm", "ray"])
def test_what_is_spelt_out_with_its_default_belongs_to_every_backend(backend):
    settings = GeneratorSettings(model="m", backend=backend)
    assert GeneratorSettings.model_validate(settings.model_dump()) == settings


def test_ray_starts_engines_or_asks_a_server_and_not_both():
    engine = {"max_model_len": 4096}
    assert GeneratorSettings(model="m", backend="ray", engine=engine, batch={"most": 50}).engine
    with pytest.raises(ValidationError, match="names a server that runs already"):
        GeneratorSettings(model="m", backend="ray", engine=engine, base_url=HERE)


def test_the_same_place_twice_is_refused_and_two_accounts_at_it_are_not():
    slash = {"base_url": f"{HERE}/"}
    with pytest.raises(ValidationError, match=r"names 'http://127.0.0.1:8000/v1' twice"):
        GeneratorSettings(model="m", endpoints=({"base_url": HERE}, slash))
    GeneratorSettings(model="m", endpoints=({"base_url": HERE}, {**slash, "api_key_env": "B"}))


@pytest.mark.parametrize("name", ["", "sk-proj-secret", "MY KEY", "1KEY", "KEY=secret"])
def test_a_key_in_the_place_of_its_variables_name_is_refused_and_not_shown(name):
    for make in (
        lambda: GeneratorSettings(model="m", api_key_env=name),
        lambda: GeneratorSettings(model="m", endpoints=({"api_key_env": name},)),
    ):
        with pytest.raises(UserError, match="put the key into a variable") as caught:
            make()
        assert "secret" not in "".join(traceback.format_exception(caught.value))


def test_a_model_of_blanks_is_a_missing_model():
    with pytest.raises(ValidationError, match=r"generator\.model is missing"):
        GeneratorSettings(model=" ")


def test_settings_that_were_made_without_being_checked_open_no_connection(tmp_path):
    settings = GeneratorSettings(model="m", base_url=HERE, local_only=True).model_copy(
        update={"base_url": "http://10.0.0.7:8000/v1"}
    )
    with pytest.raises(UserError, match="local_only"):
        build_generator(settings, seed=0, folder=tmp_path, say=print)


def test_a_batch_api_is_asked_for_as_many_at_a_time_as_fill_a_batch():
    assert GeneratorSettings(model="m", backend="openai-batch").at_a_time() == 10_000
    here = GeneratorSettings(model="m", backend="openai-batch", batch={"most": 300}, concurrency=8)
    assert here.at_a_time() == 300
    assert here.identity() == GeneratorSettings(model="m", backend="openai-batch").identity()


@pytest.mark.parametrize("batch", [{"most": 0}, {"most": 50_001}, {"fewest": 0}])
def test_batches_that_no_provider_takes_are_refused(batch):
    with pytest.raises(ValidationError, match="equal to"):
        GeneratorSettings(model="m", backend="openai-batch", batch=batch)


def test_batches_that_would_never_be_full_enough_to_be_sent_are_refused():
    with pytest.raises(ValidationError, match="fewest is 100 and most is 50"):
        GeneratorSettings(model="m", backend="openai-batch", batch={"most": 50})


def test_a_batch_api_is_one_endpoint_and_local_only_holds_for_it():
    places = ({"base_url": HERE}, {"base_url": "http://127.0.0.1:8001/v1"})
    with pytest.raises(ValidationError, match="backend 'openai-batch' uses one"):
        GeneratorSettings(model="m", backend="openai-batch", endpoints=places)
    with pytest.raises(UserError, match="local_only"):
        GeneratorSettings(model="m", backend="openai-batch", local_only=True)


def test_a_batch_backend_writes_and_connects_to_nothing_before_its_first_request(tmp_path):
    settings = GeneratorSettings(model="m", backend="openai-batch", base_url=HERE)
    made = build_generator(settings, seed=0, folder=tmp_path / "synthetic", say=print)
    assert (type(made).__name__, made.model) == ("BatchBackend", "m")
    assert not list(tmp_path.iterdir())

"""A finished run to report on, plain and hostile, made once; and a browser to read it in."""

from __future__ import annotations

import http.server
import importlib.util
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


def load(helper: str) -> ModuleType:
    """A module of this folder: tests are imported by path, so their helpers are too."""
    name = f"report_{helper}"
    if name not in sys.modules:
        path = Path(__file__).resolve().parent / f"{helper}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def builder() -> ModuleType:
    """Makes runs: `builder.build_run(folder, ...)`."""
    return load("run_directory")


@pytest.fixture(scope="session")
def add_judges() -> Any:
    """Lays verdicts beside the texts of a run: `add_judges(folder, ...)`."""
    return load("judged_texts").add_judges


@pytest.fixture(scope="session")
def run(builder: Any, add_judges: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run of three budgets with its report."""
    made = builder.build_run(tmp_path_factory.mktemp("plain"))
    add_judges(made.synthetic.path)
    made.report()
    return made


@pytest.fixture(scope="session")
def hostile(builder: Any, add_judges: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The same with every text that a document or a model could bring to attack the page."""
    made = builder.build_run(tmp_path_factory.mktemp("hostile"), hostile=True)
    add_judges(made.synthetic.path, poison=builder.HOSTILE)
    made.report()
    return made


# Not for the session: while its driver runs, no other test can start an event loop.
@pytest.fixture(scope="module")
def browser(chromium: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium with a profile of its own."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    with api.sync_playwright() as driver:
        started = driver.chromium.launch(
            executable_path=str(chromium),
            headless=True,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
            # The machine may be busy with training.
            timeout=120_000,
        )
        yield started
        started.close()


@pytest.fixture
def open_report(browser: Any) -> Iterator[Any]:
    """Opens a run's page and collects what goes wrong on it: `open_report(run, width=360, ...)`."""
    contexts = []

    def opened(run: Any, *, width: int = 1200, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.troubles, page.requests = [], []
        page.on("console", lambda message: page.troubles.append(message.text))
        page.on("pageerror", lambda error: page.troubles.append(str(error)))
        page.on("dialog", lambda dialog: page.troubles.append(dialog.message))
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto((run.root / "report" / "report.html").as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture
def stranger() -> Iterator[Any]:
    """A server on loopback that a page must never ask: its `address`, and what it was `asked`."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"window.pwned = 5")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield SimpleNamespace(address=f"http://127.0.0.1:{server.server_port}", asked=asked)
        server.shutdown()
        thread.join()

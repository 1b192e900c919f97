"""A finished run to report on, plain and hostile, made once."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def load_builder() -> ModuleType:
    """The module `run_directory`: tests are imported by path, so their helpers are too."""
    name = "report_run_directory"
    if name not in sys.modules:
        path = Path(__file__).resolve().parents[1] / "report" / "run_directory.py"
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
    return load_builder()


@pytest.fixture(scope="session")
def run(builder: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run of three budgets with its report."""
    made = builder.build_run(tmp_path_factory.mktemp("plain"))
    made.report()
    return made


@pytest.fixture(scope="session")
def hostile(builder: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The same with every text that a document or a model could bring to attack the page."""
    made = builder.build_run(tmp_path_factory.mktemp("hostile"), hostile=True)
    made.report()
    return made

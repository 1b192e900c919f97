"""What a user waits for before anything happens: heavy libraries load only where they are used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src" / "engrain"
HEAVY = ("torch", "transformers", "datasets", "matplotlib", "scipy", "openai", "pandas")


def heavy_modules_after(code: str) -> list[str]:
    """Run `code` in a fresh interpreter and return which heavy libraries it has loaded."""
    report = f"import sys; print('LOADED', *[m for m in {HEAVY!r} if m in sys.modules])"
    script = f"try:\n    {code}\nfinally:\n    {report}"
    # COLUMNS and NO_COLOR: the help of the command line is laid out the same everywhere.
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=120
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("LOADED")]
    assert lines and done.returncode == 0, done.stderr
    return lines[0].split()[1:]


def test_a_heavy_library_would_be_seen():
    assert heavy_modules_after("import scipy") == ["scipy"]


def test_importing_engrain_loads_nothing_heavy():
    assert heavy_modules_after("import engrain") == []


def test_the_help_of_the_command_line_loads_nothing_heavy():
    code = "import sys; sys.argv = ['engrain', '--help']; from engrain.cli.main import main; main()"
    assert heavy_modules_after(code) == []


def test_the_settings_of_every_package_load_nothing_heavy():
    modules = [
        f"engrain.{path.parent.name}.settings" for path in sorted(SOURCE.glob("*/settings.py"))
    ]
    assert heavy_modules_after("import engrain.settings, " + ", ".join(modules)) == []

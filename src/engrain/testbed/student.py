"""Where the shipped student lies: a Hugging Face checkpoint inside the package."""

from __future__ import annotations

from pathlib import Path

from engrain.errors import UserError


def path() -> Path:
    """The checkpoint's folder; UserError where the installation lacks it."""
    folder = Path(__file__).parent / "student"
    if not (folder / "model.safetensors").is_file():
        raise UserError(
            f"the testbed's student is missing from {str(folder)!r}; reinstall engrain, "
            "or make it anew with `engrain testbed pretrain`"
        )
    return folder

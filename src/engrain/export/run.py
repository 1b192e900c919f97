"""`export`: a run's trained student as a folder that loads as it is.

The folder holds the model (`model`) and its card (`card`), and is there whole or not at all
(`folder`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engrain.export.folder import CARD, check_target, marked, published
from engrain.export.lineage import lineage
from engrain.export.model import DType, Written


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A finished export."""

    folder: Path
    label: str
    """Of the budget whose student it is."""
    written: Written
    files: tuple[str, ...]
    evaluated: bool
    """Whether the card has results."""


def export(
    run: Path,
    to: Path,
    *,
    budget: str | None = None,
    dtype: DType = "as-is",
    licence: str | None = None,
    base_model: str | None = None,
    language: str | None = None,
    titles: bool = False,
) -> Exported:
    """Export the student of a run to the folder `to`, which bears the model's name.

    Raises UserError where the run has no such student, where `to` holds anything but an earlier
    export, and where it cannot be written.

    Args:
        run: The run's folder.
        to: Made, or replaced where it is an earlier export.
        budget: The student's label; None: the one that read the most tokens.
        dtype: Of the weights: as the checkpoint has them, or bf16.
        licence: The card's, as the hub spells it; None: `unknown`.
        base_model: The card's; None: the student's name, where it came from the hub.
        language: The card's; None: the documents', where that is plain.
        titles: Whether the card lists the documents' titles.
    """
    target = to.expanduser().resolve()
    check_target(target)
    made = lineage(run, budget)
    # Late: they load transformers, for which a refusal need not wait.
    from engrain.export.card import UNKNOWN_LICENCE, About, card
    from engrain.export.model import write_model

    with published(target) as folder:
        written = write_model(made.checkpoint.path, folder, dtype)
        about = About(
            name=target.name,
            licence=licence or UNKNOWN_LICENCE,
            base_model=base_model,
            language=language,
            titles=titles,
        )
        names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
        text = marked(card(made, written, about), names)
        (folder / CARD).write_text(text, encoding="utf-8")
    return Exported(
        folder=to,
        label=made.label,
        written=written,
        files=tuple(sorted([*names, CARD])),
        evaluated=made.findings is not None,
    )

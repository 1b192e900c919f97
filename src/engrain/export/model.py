"""The files that a server loads: weights as safetensors, configuration, tokenizer, chat template.

Knows what transformers and vLLM look for in a folder; knows nothing of runs or cards. torch and
transformers are imported inside the functions: a target that is refused need not wait for them.
"""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
from collections import Counter
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from engrain import models
from engrain.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DType = Literal["as-is", "bf16"]

CONFIG = "config.json"
GENERATION = "generation_config.json"
CHAT_TEMPLATE = "chat_template.jinja"
_INDEX = "model.safetensors.index.json"
_MORE_TEMPLATES = "additional_chat_templates"
# What says that two folders cannot share a file: other disks, no permission, no such thing there.
_NO_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What stands in the folder."""

    architecture: str
    parameters: int
    dtype: str
    """Of most weights, as safetensors names it: `BF16`."""
    positions: int | None
    """Most tokens that the model reads at once; None where its configuration sets no limit."""
    rounded: bool
    """Whether the weights are not those of the checkpoint, but rounded ones."""
    own_template: bool
    """Whether the tokenizer brought a chat template; else the evaluation's plain form is one."""


def write_model(checkpoint: Path, folder: Path, dtype: DType) -> Written:
    """Write a checkpoint's model into an empty folder.

    Weights as they are share the checkpoint's disk space where they can. Raises UserError where the
    checkpoint lacks what servers need.
    """
    tokenizer = models.load_tokenizer(str(checkpoint))
    weights = sorted(checkpoint.glob("*.safetensors"))
    if not (checkpoint / CONFIG).is_file() or not weights:
        raise UserError(
            f"the checkpoint {str(checkpoint)!r} has no {CONFIG} or no *.safetensors; train again"
        )
    if dtype == "bf16":
        _convert(checkpoint, folder)
    else:
        for name in (CONFIG, GENERATION, _INDEX):
            if (checkpoint / name).is_file():
                shutil.copyfile(checkpoint / name, folder / name)
        for path in weights:
            _link(path, folder / path.name)
    _copy_tokenizer(checkpoint, folder, tokenizer)
    if tokenizer.chat_template is None:
        (folder / CHAT_TEMPLATE).write_text(plain_template(tokenizer), encoding="utf-8")
    _stop_where_measured(folder)
    return _inspect(checkpoint, folder, own_template=tokenizer.chat_template is not None)


def plain_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """The form in which a student without a chat template was asked, as a chat template."""
    source = files("engrain.export") / "templates" / "plain_chat.jinja"
    text = source.read_text(encoding="utf-8").rstrip("\n")
    adds = tokenizer.bos_token_id is not None and (
        tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]
    )
    return text.replace("{{ begin }}", "{{ bos_token }}" if adds else "")


def _convert(checkpoint: Path, folder: Path) -> None:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    try:
        with models.quiet():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                str(checkpoint), dtype=torch.bfloat16, local_files_only=True
            )
            loaded.save_pretrained(str(folder))
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(
            f"the weights of {str(checkpoint)!r} cannot be read, or their copy not written "
            f"({models.first_line(error)}); train again, or free some space"
        ) from error


def _link(source: Path, to: Path) -> None:
    """Share the file, or copy it where that cannot be.

    Both are safe from one another: safetensors writes a file of weights anew and never over. It
    lets only its owner read it, so the file gets the rights that the folder's others have.
    """
    try:
        os.link(source, to)
        to.chmod((to.parent / CONFIG).stat().st_mode)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        to.unlink(missing_ok=True)
        shutil.copyfile(source, to)


def _copy_tokenizer(checkpoint: Path, folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    names = {*models.TOKENIZER_FILES, *tokenizer.vocab_files_names.values()}
    for name in sorted(names):
        if (checkpoint / name).is_file():
            shutil.copyfile(checkpoint / name, folder / name)
    if (checkpoint / _MORE_TEMPLATES).is_dir():
        shutil.copytree(checkpoint / _MORE_TEMPLATES, folder / _MORE_TEMPLATES)


def _stop_where_measured(folder: Path) -> None:
    """Let servers end an answer where the evaluation did, at the end of a turn too."""
    from engrain.backends.transformers import stop_tokens

    path = folder / GENERATION
    configured = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    named = configured.get("eos_token_id")
    stops = list(stop_tokens(models.load_tokenizer(str(folder)), named))
    known = named if isinstance(named, list) else [named]
    if set(stops) == set(known):
        return
    configured["eos_token_id"] = stops if len(stops) > 1 else stops[0]
    path.unlink(missing_ok=True)
    path.write_text(json.dumps(configured, indent=2) + "\n", encoding="utf-8")


def _inspect(checkpoint: Path, folder: Path, *, own_template: bool) -> Written:
    """Read the folder as a server begins to: the architecture, and every weight of the index."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    architectures = config.get("architectures")
    if not architectures:
        raise UserError(
            f"the checkpoint's {CONFIG} names no architecture, without which vLLM loads nothing; "
            "train a student whose configuration has 'architectures'"
        )
    weights = _weights(folder)
    _check_index(folder, set(weights))
    sizes: Counter[str] = Counter()
    for dtype, size in weights.values():
        sizes[dtype] += size
    before = {name: dtype for name, (dtype, _) in _weights(checkpoint).items()}
    return Written(
        architecture=architectures[0],
        parameters=sizes.total(),
        dtype=sizes.most_common(1)[0][0],
        positions=config.get("text_config", config).get("max_position_embeddings"),
        rounded={name: dtype for name, (dtype, _) in weights.items()} != before,
        own_template=own_template,
    )


def _weights(folder: Path) -> dict[str, tuple[str, int]]:
    """The type and the size of each weight, from the heads of the files."""
    from safetensors import safe_open

    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="numpy") as weights:
            for name in weights.keys():  # noqa: SIM118  # no mapping: it has no iterator
                part = weights.get_slice(name)
                found[name] = (part.get_dtype(), math.prod(part.get_shape()))
    return found


def _check_index(folder: Path, held: set[str]) -> None:
    path = folder / _INDEX
    if not path.is_file():
        return
    missing = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"]) - held)
    if missing:
        raise UserError(f"the checkpoint's weights lack {missing[0]!r}; train again")

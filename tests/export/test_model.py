"""What servers need of a checkpoint: templates, ends of answers, every weight of the index."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tokenizers import processors
from transformers import AutoModelForCausalLM, AutoTokenizer

from engrain.backends.base import Message
from engrain.backends.transformers import prompt_tokens
from engrain.errors import UserError
from engrain.evaluate.prompts import prompt
from engrain.export.model import write_model
from engrain.testbed import student

CHATML = (
    "{% for m in messages %}<|user|>{{ m.content }}<|system|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(student.path(), tmp_path / "checkpoint"))
    (folder / "metrics.jsonl").write_text("{}\n")
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.mark.parametrize("begins", [False, True])
def test_a_student_without_a_chat_template_gets_the_form_in_which_it_was_evaluated(
    checkpoint, out, begins
):
    (checkpoint / "chat_template.jinja").unlink()
    plain = AutoTokenizer.from_pretrained(checkpoint)
    plain.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A" if begins else "$A",
        special_tokens=[("<|begin|>", plain.bos_token_id)],
    )
    plain.save_pretrained(checkpoint)
    assert plain.chat_template is None
    assert not write_model(checkpoint, out, "as-is").own_template
    served = AutoTokenizer.from_pretrained(out)
    turns = (
        Message("system", "Be brief."),
        Message("user", "Who kept  the mill?"),
        Message("assistant", "Ada."),
        Message("user", "When?\n"),
    )
    for messages in (prompt("Who kept the mill?"), turns):
        expected = prompt_tokens(AutoTokenizer.from_pretrained(checkpoint), messages)
        assert (expected[0] == plain.bos_token_id) == begins
        assert prompt_tokens(served, messages) == expected
        rows = [{"role": one.role, "content": one.content} for one in messages]
        text = served.apply_chat_template(rows, add_generation_prompt=True, tokenize=False)
        assert served(text, add_special_tokens=False)["input_ids"] == expected


def test_a_students_own_chat_template_stays_as_it_is(checkpoint, out):
    assert write_model(checkpoint, out, "as-is").own_template
    name = "chat_template.jinja"
    assert (out / name).read_bytes() == (checkpoint / name).read_bytes()
    assert not (out / "metrics.jsonl").exists()


def test_servers_end_an_answer_at_the_end_of_a_turn_as_the_evaluation_does(checkpoint, out):
    (checkpoint / "chat_template.jinja").write_text(CHATML)
    write_model(checkpoint, out, "as-is")
    tokenizer = AutoTokenizer.from_pretrained(out)
    turn = tokenizer.convert_tokens_to_ids("<|system|>")
    configured = json.loads((out / "generation_config.json").read_text())["eos_token_id"]
    assert configured == [tokenizer.eos_token_id, turn]
    before = json.loads((checkpoint / "generation_config.json").read_text())
    assert before["eos_token_id"] == tokenizer.eos_token_id


def test_weights_in_several_files_come_with_their_index(checkpoint, out):
    network = AutoModelForCausalLM.from_pretrained(checkpoint)
    (checkpoint / "model.safetensors").unlink()
    network.save_pretrained(checkpoint, max_shard_size="2MB")
    written = write_model(checkpoint, out, "as-is")
    assert len(list(out.glob("model-*-of-*.safetensors"))) > 1
    assert (out / "model.safetensors.index.json").is_file()
    assert written.parameters == network.num_parameters()
    assert written.architecture == "LlamaForCausalLM"


def test_a_weight_that_the_index_names_and_no_file_holds_is_an_error(checkpoint, out):
    network = AutoModelForCausalLM.from_pretrained(checkpoint)
    (checkpoint / "model.safetensors").unlink()
    network.save_pretrained(checkpoint, max_shard_size="2MB")
    max(checkpoint.glob("model-*-of-*.safetensors")).unlink()
    with pytest.raises(UserError, match=r"weights lack 'model\."):
        write_model(checkpoint, out, "as-is")


def test_a_checkpoint_that_servers_could_not_load_is_an_error(checkpoint, out):
    config = json.loads((checkpoint / "config.json").read_text())
    del config["architectures"]
    (checkpoint / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="names no architecture"):
        write_model(checkpoint, out, "as-is")
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"no \*\.safetensors"):
        write_model(checkpoint, out, "as-is")

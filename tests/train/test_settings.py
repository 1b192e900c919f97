from __future__ import annotations

import re
from pathlib import Path

import pytest

from engrain import recipe
from engrain.errors import UserError
from engrain.progress import Silent
from engrain.train.run import train
from engrain.train.settings import TrainingSettings

ROOT = Path(__file__).resolve().parent.parent.parent

RECIPE = """
name: x
corpus: {paths: [a]}
generator: {backend: testbed}
synthesis: {budget: {tokens: 1k}}
student: {model: testbed}
training: """


def read(training: str) -> recipe.Recipe:
    return recipe.parse(RECIPE + training, source="recipe.yaml", folder=Path())


def test_training_lasts_two_epochs_unless_it_is_told_how_many_tokens():
    assert TrainingSettings().epochs == 2
    settings = read("{tokens: 5M}").training
    assert (settings.epochs, settings.tokens) == (None, 5_000_000)


@pytest.mark.parametrize(
    "training", ["{tokens: 5M}", "{lora: {}}", "{lora: {targets: [q_proj]}}", "{schedule: wsd}"]
)
def test_a_recipe_that_is_written_out_reads_the_same(training: str):
    asked = read(training)
    assert recipe.parse(recipe.dump(asked), source="again.yaml", folder=Path()) == asked


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ("{tokens: 5M, epochs: 2}", "after epochs or after tokens; give one of the two"),
        ("{epochs: null}", "after epochs or after tokens; give one of the two"),
        ("{decay: 0.5}", "decay belongs to the schedule wsd, not to cosine"),
        ("{schedule: wsd, warmup: 0.5, decay: 0.6}", "shares of the same steps; give at most 1"),
        ("{offload_optimizer: true, optimizer: muon}", "is for adamw and adamw_8bit, not muon"),
        ("{liger: true, loss_in_chunks: true}", "leave out loss_in_chunks"),
        ("{lora: {targets: []}}", "training.lora.targets is []"),
    ],
)
def test_settings_that_contradict_one_another_are_refused(training: str, said: str):
    with pytest.raises(UserError) as error:
        read(training)
    assert said in str(error.value)


def test_what_only_says_how_fast_is_no_part_of_the_identity():
    fast = TrainingSettings(
        compile=True,
        loss_in_chunks=True,
        attention_kernel="sdpa",
        offload_optimizer=True,
        report_to=(),
    )
    assert fast.identity() == TrainingSettings().identity()
    assert TrainingSettings(attention="within_texts").identity() != fast.identity()


EXAMPLES = re.findall(r"```yaml\n(.+?)```", (ROOT / "docs" / "training.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_of_the_page_on_training_train(example: str, mixture, student, tmp_path):
    asked = recipe.parse(
        RECIPE.removesuffix("training: ") + example, source="training.md", folder=Path()
    ).training
    small = {**asked.model_dump(), "sequence_length": 32, "batch_sequences": 8}
    if asked.tokens:
        small["tokens"] = 1000
    settings = TrainingSettings(**small)
    done = train(mixture, student, settings, tmp_path, seed=0, progress=Silent())
    assert done.counts["tokens"] >= (settings.tokens or mixture.counts["tokens"])

"""An export is there whole or not at all, and takes the place of nothing but an earlier one."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engrain.errors import UserError
from engrain.export.folder import CARD, marked, published


def publish(target: Path, **files: str) -> None:
    with published(target) as folder:
        for name, text in files.items():
            (folder / name).write_text(text)
        (folder / CARD).write_text(marked("# A model\n", list(files)))


def test_a_folder_appears_whole_and_an_empty_one_is_filled(tmp_path):
    publish(tmp_path / "new" / "model", weights="1")
    assert (tmp_path / "new" / "model" / "weights").read_text() == "1"
    (tmp_path / "empty").mkdir()
    publish(tmp_path / "empty", weights="2")
    assert (tmp_path / "empty" / "weights").read_text() == "2"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "new"]


def test_an_earlier_export_is_replaced_with_all_its_files(tmp_path):
    publish(tmp_path / "model", first="1", second="2")
    publish(tmp_path / "model", first="3")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [CARD, "first"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_with_anything_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / CARD).write_text("# Mine\n")
    with pytest.raises(UserError, match="not empty and no export of Engrain"):
        publish(tmp_path / "mine")
    assert (tmp_path / "mine" / CARD).read_text() == "# Mine\n"
    with pytest.raises(UserError, match="is a file"):
        publish(tmp_path / "mine" / CARD)


def test_an_earlier_export_with_a_file_of_somebody_else_is_left_alone(tmp_path):
    publish(tmp_path / "model", weights="1")
    (tmp_path / "model" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"'notes\.txt', which no export wrote"):
        publish(tmp_path / "model", weights="2")
    assert (tmp_path / "model" / "weights").read_text() == "1"


def test_an_earlier_export_whose_card_was_edited_is_left_alone(tmp_path):
    publish(tmp_path / "model", weights="1")
    card = tmp_path / "model" / CARD
    card.write_text(card.read_text().replace("A model", "Our model"))
    with pytest.raises(UserError, match="was changed since it was exported"):
        publish(tmp_path / "model", weights="2")
    assert "Our model" in card.read_text()


def test_what_fails_in_the_middle_leaves_the_earlier_export(tmp_path):
    publish(tmp_path / "model", weights="1")
    with pytest.raises(KeyboardInterrupt), published(tmp_path / "model") as folder:
        (folder / "weights").write_text("2")
        raise KeyboardInterrupt
    assert (tmp_path / "model" / "weights").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_killed_export_leaves_no_folder_and_the_next_one_cleans_up(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from engrain.export.folder import published\n"
        "with published(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'weights').write_text('half')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "model")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "model").exists()
    publish(tmp_path / "model", other="1")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [CARD, "other"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_two_exports_to_one_folder_at_once_are_refused(tmp_path):
    with (
        published(tmp_path / "model"),
        pytest.raises(UserError, match="is working in"),
        published(tmp_path / "model"),
    ):
        pass
    assert (tmp_path / "model").is_dir()


def test_what_comes_into_the_folder_meanwhile_is_not_lost(tmp_path):
    with (
        pytest.raises(UserError, match="no export of Engrain"),
        published(tmp_path / "model"),
    ):
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "notes.txt").write_text("mine")
    assert (tmp_path / "model" / "notes.txt").read_text() == "mine"

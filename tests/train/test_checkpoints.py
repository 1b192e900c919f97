from __future__ import annotations

from engrain.train.checkpoints import latest, seal


def written(folder, step):
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(b"weights")
    return checkpoint


def test_the_newest_sealed_checkpoint_is_used_and_a_half_written_one_removed(tmp_path):
    older = written(tmp_path, 9)
    seal(older, "a")
    half = written(tmp_path, 10)
    assert latest(tmp_path, "a") == older
    assert not half.exists()


def test_sealing_removes_the_checkpoints_before(tmp_path):
    seal(written(tmp_path, 9), "a")
    newer = written(tmp_path, 10)
    seal(newer, "a")
    assert list(tmp_path.iterdir()) == [newer]


def test_ten_is_newer_than_nine(tmp_path):
    older = written(tmp_path, 9)
    seal(older, "a")
    newer = written(tmp_path, 10)
    # As a kill between the seal and the removal leaves them.
    (newer / "sealed.json").write_bytes((older / "sealed.json").read_bytes())
    assert latest(tmp_path, "a") == newer


def test_a_checkpoint_of_another_training_is_removed(tmp_path):
    other = written(tmp_path, 9)
    seal(other, "a")
    assert latest(tmp_path, "b") is None
    assert not other.exists()


def test_there_is_none_before_the_first_and_other_folders_are_left_alone(tmp_path):
    (tmp_path / "runs").mkdir()
    assert latest(tmp_path, "a") is None
    seal(written(tmp_path, 1), "a")
    assert (tmp_path / "runs").is_dir()

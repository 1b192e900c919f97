"""Typed readers of artifacts."""

from __future__ import annotations

from pathlib import Path

from engrain.artifacts import KEPT, texts
from engrain.records import SyntheticText
from engrain.store import Artifact, write_rows


def text(method: str, number: int) -> SyntheticText:
    return SyntheticText(
        id=f"{method}{number}",
        document_id="d",
        kind="qa",
        method=method,
        text="x",
        request_id="r",
        tokens=1,
    )


def test_texts_come_method_by_method_and_half_written_files_are_not_read(tmp_path: Path):
    for method in ("rewrite", "active_reading"):
        rows = [text(method, number) for number in range(3)]
        write_rows(tmp_path / KEPT / f"{method}.parquet", SyntheticText, rows)
    (tmp_path / KEPT / ".qa.parquet.1.tmp").write_bytes(b"half")
    (tmp_path / KEPT / ".qa.parquet").write_bytes(b"half")
    artifact = Artifact(
        path=tmp_path, stage="synthesize", fingerprint="", settings={}, inputs={}, counts={}
    )
    names = [one.id for one in texts(artifact)]
    assert names == [f"{m}{n}" for m in ("active_reading", "rewrite") for n in range(3)]


def test_an_artifact_without_texts_yields_none(tmp_path: Path):
    artifact = Artifact(
        path=tmp_path, stage="synthesize", fingerprint="", settings={}, inputs={}, counts={}
    )
    assert list(texts(artifact)) == []

"""What the generator said of its own texts, as the report tells it: from a real judging."""

from __future__ import annotations

import dataclasses
import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from engrain.artifacts import DOCUMENTS, QUESTIONS, rejected
from engrain.backends.settings import Price
from engrain.errors import UserError
from engrain.progress import Silent
from engrain.records import Document, Question
from engrain.report.run import report
from engrain.store import Artifact, run_stage, write_json, write_rows
from engrain.synthesize import SynthesisSettings
from engrain.synthesize.run import synthesize
from engrain.testbed.world import build
from engrain.testbed.writer import STRENGTHS, Writer

EVERYTHING = {
    "faithfulness": {"share": 1.0, "reject": True},
    "answerability": {"per_document": 3},
}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Eight documents of the testbed's world, without questions."""
    documents = [
        Document(id=f"d{n}", title=f"<b>{made.title}</b>", source="s", text=made.text, sha256="")
        for n, made in enumerate(build(seed=1, split="target", documents=8).documents)
    ]

    def write(folder: Path) -> Mapping[str, int]:
        write_rows(folder / DOCUMENTS, Document, documents)
        write_rows(folder / QUESTIONS, Question, [])
        return {}

    return run_stage(
        tmp_path_factory.mktemp("library") / "corpus", stage="corpus", settings={}, inputs={},
        build=write, say=lambda line: None,
    )  # fmt: skip


def synthesized(library: Artifact, out: Path, judge: object) -> Artifact:
    wanted = {"budget": {"tokens": 20_000}, "judge": judge, "documents": {"method": "rewrite"}}
    return synthesize(
        library,
        Writer(strength=STRENGTHS["weak"]),
        SynthesisSettings.model_validate(wanted),
        out / "synthetic",
        seed=0,
        concurrency=4,
        progress=Silent(),
        price=Price(prompt=1.0, completion=4.0),
    )


def reported(run: Any, library: Artifact, synthetic: Artifact, out: Path, backend: str) -> Artifact:
    """The report of a run, as if its texts were these."""
    recipe = {**run.recipe, "generator": {"backend": backend}}
    return report(
        run.findings, library, synthetic, run.mixtures, run.checkpoints, run.attempts,
        out / "report", recipe=recipe, notes=(), progress=Silent(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def judged(run: Any, library: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run whose texts a weak writer wrote and judged, with its report."""
    root = tmp_path_factory.mktemp("judged")
    synthetic = synthesized(library, root, EVERYTHING)
    reported(run, library, synthetic, root, "testbed")
    return dataclasses.replace(run, root=root, corpus=library, synthetic=synthetic)


def section(root: Path) -> str:
    page = (root / "report" / "report.html").read_text(encoding="utf-8")
    found = re.search(r'<section id="judges".*?</section>', page, re.DOTALL)
    assert found is not None
    return found.group()


def words(markup: str) -> str:
    return " ".join(html.unescape(re.sub("<[^>]*>", " ", markup)).split())


def rows(markup: str) -> list[list[str]]:
    """The cells of its tables, row by row."""
    return [
        [words(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)]
        for body in re.findall(r"<tbody>(.*?)</tbody>", markup, re.DOTALL)
        for row in re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
    ]


def percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def expected(found: Mapping[str, Any]) -> list[list[str]]:
    shown = []
    for part, figure, counts in (
        ("faithfulness", "faithful", ("no", "unclear")),
        ("answerability", "accuracy", ()),
    ):
        for method, one in found[part]["methods"].items():
            interval = f"{percent(one['low'])} to {percent(one['high'])}"
            name = "closed book" if method == "closed_book" else method
            cells = [name, percent(one[figure]), interval, one["n"], one["documents"]]
            cells += [one[name] for name in counts]
            cells += [percent(one["unparsable_share"]), one["failed"]]
            shown.append([str(cell) for cell in cells])
    return shown


def test_the_page_tells_of_each_judge_and_method_what_judging_found(judged: Any):
    found = json.loads((judged.synthetic.path / "judged.json").read_text())
    methods = found["faithfulness"]["methods"]
    assert set(methods) == {"rewrite", "qa"}
    assert 0 < methods["rewrite"]["low"] < methods["rewrite"]["faithful"] < 1
    assert set(found["answerability"]["methods"]) == {"closed_book", "rewrite"}
    shown = section(judged.root)
    assert rows(shown) == expected(found)
    text = (judged.root / "report" / "report.md").read_text()
    for row in expected(found):
        assert f"| {' | '.join(row)} |".replace("_", "\\_") in text
    # Its bar and whiskers are as long as the numbers say.
    bar = re.search(
        r'<span class="label">rewrite</span>.*?<rect .*? width="([\d.]+)%"', shown, re.S
    )
    assert bar is not None
    assert float(bar.group(1)) == pytest.approx(100 * methods["rewrite"]["faithful"])


def test_the_page_tells_what_judging_cost_and_took_away(judged: Any):
    usage = json.loads((judged.synthetic.path / "usage.json").read_text())["methods"]
    shown, text = section(judged.root), (judged.root / "report" / "report.md").read_text()
    for name in ("judge_faithfulness", "judge_answerability"):
        spent = usage[name]
        assert f"Asking took {spent['requests']:,} requests" in words(shown)
        for key in ("prompt_tokens", "completion_tokens", "usd"):
            assert f'<data value="{spent[key]}">' in shown
            assert spent[key] > 0
        assert f"It took {spent['requests']:,} requests" in text
    gone = sum(row.reason == "unfaithful" for row in rejected(judged.synthetic))
    assert f"{gone} texts judged unfaithful were rejected" in words(shown)
    assert f"{gone} texts judged unfaithful were rejected;" in text


def test_a_few_texts_judged_unfaithful_stand_there_with_the_reason(judged: Any):
    found = json.loads((judged.synthetic.path / "judged.json").read_text())
    shown = section(judged.root)
    for tally in found["faithfulness"]["methods"].values():
        examples = tally["unsupported"]
        assert len(examples) > 3
        for row in examples[:3]:
            assert f"{html.escape(row['text'], quote=False)}</div>" in shown.replace("&#39;", "'")
            assert row["statement"] in words(shown)
            assert row["text_id"] in shown
        assert examples[3]["text_id"] not in shown
    for row in found["answerability"]["methods"]["rewrite"]["missed"][:3]:
        assert row["question"] in words(shown)
        assert f"The judge says {row['said']}" in words(shown)
    # Titles come from documents.
    assert "&lt;b&gt;" in shown and "<b>" not in shown


def test_hostile_verdicts_and_texts_come_through_as_text(run: Any, hostile: Any, builder: Any):
    shown = section(hostile.root)
    assert re.findall("<[^>]*>", section(run.root)) == re.findall("<[^>]*>", shown)
    for attack in builder.HOSTILE[:3]:
        assert attack in html.unescape(shown)


def test_the_page_says_whose_verdicts_these_are(run: Any, judged: Any, tmp_path: Path):
    """The testbed's are tested against the truth; any other model's are not."""
    text = words(section(judged.root))
    assert "tested against the truth" in text
    assert "nobody has compared" not in text
    reported(run, judged.corpus, judged.synthetic, tmp_path, "openai")
    for text in (words(section(tmp_path)), (tmp_path / "report" / "report.md").read_text()):
        assert "nobody has compared its verdicts with a person's" in text
        assert "not the share of texts without errors" in text
        assert "not the accuracy of a student" in text


@pytest.mark.parametrize("left_out", ["faithfulness", "answerability", "both"])
def test_what_was_not_judged_is_not_mentioned(
    run: Any, library: Artifact, tmp_path: Path, left_out: str
):
    judge = None if left_out == "both" else {left_out: None}
    made = reported(run, library, synthesized(library, tmp_path, judge), tmp_path, "testbed")
    page, text = (made.path / "report.html").read_text(), (made.path / "report.md").read_text()
    for shown in (page, text):
        there = [
            title for title in ("Faithful to the document", "Answerable from") if title in shown
        ]
        assert len(there) == (0 if left_out == "both" else 1)
    assert ('<section id="judges"' in page) == (left_out != "both")
    assert ("## Judged by the generator" in text) == (left_out != "both")
    assert ("judged.json" in page) == (left_out != "both")


def test_where_the_cap_left_nothing_no_share_is_shown(run: Any, library: Artifact, tmp_path: Path):
    made = synthesized(library, tmp_path, EVERYTHING)
    found = json.loads((made.path / "judged.json").read_text())
    nothing = dict.fromkeys(("faithful", "low", "high", "unparsable_share"))
    for tally in found["faithfulness"]["methods"].values():
        tally |= {**nothing, "n": 0, "documents": 0, "no": 0, "unclear": 0, "unsupported": []}
    found["faithfulness"] |= {"asked": 0, "stopped": "the limit on requests was reached"}
    del found["answerability"]
    write_json(made.path / "judged.json", found)
    reported(run, library, made, tmp_path, "testbed")
    shown = section(tmp_path)
    assert rows(shown)[0][:3] == ["qa", "\N{EN DASH}", "\N{EN DASH}"]
    assert "Asked about 0 of" in words(shown)
    assert "the limit on requests was reached" in shown
    assert "<svg" not in shown and "<details" not in shown


def test_verdicts_of_another_shape_are_refused_in_one_sentence(
    run: Any, library: Artifact, tmp_path: Path
):
    made = synthesized(library, tmp_path, EVERYTHING)
    found = json.loads((made.path / "judged.json").read_text())
    del found["faithfulness"]["methods"]["qa"]["documents"]
    write_json(made.path / "judged.json", found)
    with pytest.raises(
        UserError, match=r"judged\.json' has no 'documents'; delete the record\.json"
    ):
        reported(run, library, made, tmp_path, "testbed")

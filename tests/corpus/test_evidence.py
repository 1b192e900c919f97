"""Evidence is found in a document although another tool extracted it."""

from __future__ import annotations

from engrain.corpus.evidence import align
from engrain.records import Document, Question

TABLE = "Revenue: Subscription $ 16,388 $ 14,573 Product 532 555 Services 686 657 Total 17,606"
TEXT = f"Before the table stands prose about other things.\n{TABLE}\nAfter it stands more prose."


def document(name: str, text: str) -> Document:
    return Document(id=name, title=name, source=name, text=text, sha256="")


def question(*evidence: str, documents: tuple[str, ...] = ("a",)) -> Question:
    return Question(id="q", text="?", answer="!", document_ids=documents, evidence=evidence)


def test_evidence_that_differs_in_white_space_is_verbatim():
    evidence = TABLE.replace(" $", " \n$\n")
    (aligned,), counts = align([question(evidence)], [document("a", TEXT)])
    assert aligned.evidence == (evidence,)
    assert counts == {"verbatim": 1, "aligned": 0, "missing": 0}


def test_evidence_in_another_order_becomes_the_stretch_of_the_text_that_states_it():
    evidence = (
        "Revenue: Product 532 555 Subscription $ 16,388 $ 14,573 Total 17,606 Services 686 657"
    )
    (aligned,), counts = align([question(evidence)], [document("b", "x"), document("a", TEXT)])
    assert aligned.evidence == (TABLE,)
    assert counts == {"verbatim": 0, "aligned": 1, "missing": 0}


def test_evidence_that_no_document_of_the_question_states_is_kept_and_counted():
    evidence = "Nine words that stand nowhere in any text here, sadly"
    texts = [document("a", TEXT), document("b", evidence)]
    (aligned,), counts = align([question(evidence, "16,388 $ 1")], texts)
    assert aligned.evidence == (evidence, "16,388 $ 1")
    assert counts == {"verbatim": 1, "aligned": 0, "missing": 1}


def test_words_scattered_over_a_document_do_not_state_the_evidence():
    evidence = "Revenue from products and services grew by nine percent in Lorne"
    scattered = " and then some words of another matter ".join(evidence.split())
    assert align([question(evidence)], [document("a", scattered)])[1]["missing"] == 1


def test_a_short_evidence_is_never_aligned_by_its_words_alone():
    (aligned,), counts = align([question("prose about table")], [document("a", TEXT)])
    assert aligned.evidence == ("prose about table",)
    assert counts["missing"] == 1


def test_evidence_in_two_documents_is_found_in_each():
    texts = [document("a", "Ada kept bees."), document("b", "Bees live in Lorne.")]
    asked = question("Ada kept bees.", "Bees live in Lorne.", documents=("a", "b"))
    assert align([asked], texts)[1] == {"verbatim": 2, "aligned": 0, "missing": 0}

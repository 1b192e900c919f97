"""The filters of synthetic texts, each by itself, and their order."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from engrain import artifacts
from engrain.backends.scripted import ScriptedBackend
from engrain.progress import Silent
from engrain.synthesize import SynthesisSettings
from engrain.synthesize.base import Piece, Window
from engrain.synthesize.leak import LeakGuard
from engrain.synthesize.run import synthesize
from engrain.synthesize.settings import VerifySettings
from engrain.synthesize.verify import Verifier
from engrain.synthesize.verify.base import Candidate
from engrain.synthesize.verify.duplicates import NearDuplicate
from engrain.synthesize.verify.language import SameLanguage
from engrain.synthesize.verify.seen import Seen

STORY = (
    "Ada Wren was born in Oslo in 1912, where her father kept a small bakery beside the harbour. "
    "She learned to bake before she could read, and at nineteen she opened a shop of her own. "
    "During the long winter of 1947 the harbour froze, and the bakery fed half of the town on "
    "flour that the sailors had given up for lost. The shop was sold in 1960 and burned down a "
    "year later; nobody was hurt, but the recipe of the famous rye bread was never found again."
)


def window(text: str = STORY, document: str = "d") -> Window:
    return Window(document_id=document, title="t", number=0, text=text, tokens=len(text) // 4)


def pair(question: str, explanation: str, answer: str) -> Piece:
    return Piece(text=f"{explanation}\nAnswer: {answer}", question=question, answer=answer)


def reason(piece: Piece, text: str = STORY, **settings: object) -> str:
    verifier = Verifier(LeakGuard([]), VerifySettings.model_validate(settings))
    fault = verifier.fault(piece, "qa" if piece.question else "document", window(text))
    return fault.reason if fault else ""


PAIR = pair("Where was Ada Wren born?", "Ada Wren, a baker, was born in Oslo in 1912.", "Oslo")


def test_a_good_pair_and_a_good_text_pass_every_filter():
    assert reason(PAIR) == ""
    assert (
        reason(
            Piece(
                text="The baker Ada Wren came from Oslo. Born in 1912, she ran her own shop "
                "from the age of nineteen, and sold it in 1960; it burned down one year after."
            )
        )
        == ""
    )


@pytest.mark.parametrize(
    "question",
    [
        "What does the passage say about Ada Wren?",
        "According to the text, where was Ada Wren born?",
        "Where, in this story, is the bakery?",
        "Why does the author mention the winter of 1947?",
        "How does the narrator feel about the fire?",
        "What is the main topic of the excerpt above?",
        "What did he do then?",
        "When was she born?",
        "And who was her father?",
        "Where did they get flour?",
    ],
)
def test_a_question_that_needs_the_document_beside_it_is_not_self_contained(question):
    assert reason(pair(question, "Ada Wren was born in Oslo.", "Oslo")) == "not_self_contained"
    assert reason(pair(question, "Ada Wren was born in Oslo.", "Oslo"), self_contained=False) == ""


@pytest.mark.parametrize(
    "question",
    [
        "Who is the author of Dracula?",
        "Which article of the constitution did Ada Wren invoke?",
        'In the story "The Bakery", who opens a shop?',
        "Where does the story of Ada Wren begin?",
        "What did Ada Wren do when she lost her shop?",
        "Why do people lie when they are afraid?",
        "Who signed the document that ended the strike of 1947?",
        "When did they stop making the Nissan Xterra?",
        "What text did Ada Wren send to the mayor of Oslo?",
        "How long does it take to bake rye bread?",
    ],
)
def test_a_question_that_names_what_it_is_about_is_self_contained(question):
    assert reason(pair(question, "Ada Wren was born in Oslo.", "Oslo")) == ""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("According to the passage, Ada Wren was born in Oslo and opened a shop.", True),
        ("The document does not say who bought the shop of Ada Wren in 1960.", True),
        ("As described in this text, the harbour froze during the winter of 1947.", True),
        ("Based on the provided context, Ada Wren sold her shop in the year 1960.", True),
        ("According to the author of the town's chronicle, the harbour froze in 1947.", False),
        ("Ada Wren wrote an article. In it the bread of Oslo is praised at length.", False),
        ("The text of the treaty was signed beside the harbour, and she baked for it.", False),
    ],
)
def test_a_text_that_points_to_its_source_is_not_self_contained(text, found):
    assert (reason(Piece(text=text)) == "not_self_contained") == found


def test_a_phrase_that_the_document_itself_uses_is_no_pointer_to_the_document():
    text = "According to the document, the harbour of Oslo belonged to the bakers' guild."
    assert reason(Piece(text=text)) == "not_self_contained"
    assert reason(Piece(text=text), text=f"{STORY} According to the document, it was so.") == ""


@pytest.mark.parametrize(
    ("explanation", "answer", "found"),
    [
        ("Ada Wren was born in Oslo.", "In Bergen", True),
        ("Ada Wren was born in OSLO, in Norway.", "Oslo", False),
        ("The shop brought in 1,250,000 crowns.", "1250000", False),
        ("The shop brought in 1250000 crowns.", "1,250,000 crowns", False),
        ("She had three sisters.", "3", False),
        ("She came in 1st.", "first", False),
        ("She married the mayor.", "He marries her", False),
        ("The winter was long.", "1947", True),
        ("Her father baked, and she baked as well.", "Yes", False),
        ("Everyone was fed.", "All of them", False),
        ("The shop was sold, and burned.", "sold in 1960", False),
    ],
)
def test_an_explanation_says_enough_of_its_answer(explanation, answer, found):
    piece = pair("What of Ada Wren?", explanation, answer)
    assert (reason(piece) == "answer_unexplained") == found
    assert reason(piece, answer_share=None) == ""


ECHO = "Reply with the text alone. State the facts themselves, with names, numbers and dates. "


def test_a_text_that_repeats_its_instruction_is_an_echo():
    piece = Piece(text=f"{ECHO} Ada Wren was born in Oslo.")
    assert reason(piece) == "prompt_echo"
    assert reason(piece, prompt_echo=None) == ""
    assert reason(piece, text=f"{STORY} {ECHO}") == "", "the document is about prompts"


def test_an_instruction_is_found_wherever_in_the_text_it_stands():
    told = STORY.split()[:15]
    quoted = "keep every fact names numbers dates reasons and relations"
    for place in range(len(told)):
        text = " ".join([*told[:place], quoted, *told[place:]])
        assert reason(Piece(text=text)) == "prompt_echo", place


def test_strategies_and_questions_may_be_repeated_but_not_the_words_around_them():
    question = "Which of the two shops did Ada Wren open first when she came of age?"
    assert reason(Piece(text=f"{question} At nineteen, Ada Wren opened the first of them.")) == ""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Ada Wren wurde 1912 in Oslo geboren, wo ihr Vater eine kleine Bäckerei hatte, und mit "
         "neunzehn Jahren eröffnete sie ihren eigenen Laden in der Stadt.", "de"),
        ("Ada Wren nació en Oslo en 1912, donde su padre tenía una pequeña panadería junto al "
         "puerto, y a los diecinueve años abrió su propia tienda.", "es"),
        ("艾达·雷恩于一九一二年出生在奥斯陆 她的父亲在港口旁边经营一家小面包店。"
         "她十九岁时开了自己的店。", "zh"),
        ("Ada Wren, Oslo, 1912; Ada Wren, Oslo, 1931, 1947; Ada Wren, Oslo, Norway, 1960.", ""),
        ("A baker by trade, Ada Wren hailed from Oslo; born 1912, she owned premises by 1931, "
         "selling rye loaves.", ""),
        ("Das ist eine kleine Bäckerei in der Stadt gewesen, und nicht mehr.", ""),
    ],
)  # fmt: skip
def test_a_text_in_another_language_than_its_document_is_found(text, found):
    verdict = SameLanguage().judge(Candidate(Piece(text=text), "document", window()))
    assert (verdict is not None) == bool(found)
    assert verdict is None or repr(found) in verdict.detail
    # About a document in that language it is right.
    assert SameLanguage().judge(Candidate(Piece(text=text), "document", window(text * 3))) is None


def test_a_document_copied_from_its_source_is_found_and_a_quoting_pair_is_not():
    copied = STORY[: len(STORY) // 2]
    assert reason(Piece(text=copied)) == "source_copy"
    assert reason(Piece(text=copied), source_copy=None) == ""
    assert reason(Piece(text=copied), source_copy=0.5) == "source_copy"
    assert reason(pair("Who was Ada Wren?", copied, "Ada Wren"), source_copy=0.5) == ""
    half = copied[:150] + " Her later life was spent far from there, and little is known of it now."
    assert reason(Piece(text=half)) == ""


def test_of_near_equal_texts_of_any_document_the_first_is_kept():
    verifier = Verifier(LeakGuard([]), VerifySettings())
    text = " ".join(f"Fact {n} is that the {n}th loaf was baked by Ada." for n in range(12))
    again = text.replace("the 3th loaf was", "the 3th loaf had been")
    other = text.replace("Ada", "Eva")
    later = text.replace("5th", "25th")
    assert verifier.fault(Piece(text=text), "document", window(document="a")) is None
    found = verifier.fault(Piece(text=again), "document", window(document="b"))
    assert found is not None and found.reason == "near_duplicate"
    for piece in (other, later):
        assert verifier.fault(Piece(text=piece), "document", window()) is None


def test_a_pair_is_compared_as_a_whole_and_another_answer_makes_it_another_pair():
    explanation = "The bakery beside the harbour was kept by the man who had been at sea before."
    near = NearDuplicate(0.8, 100)

    def judged(question: str, answer: str) -> bool:
        piece = pair(question, explanation, answer)
        return near.judge(Candidate(piece, "qa", window())) is not None

    assert not judged("Who kept the small bakery beside the harbour?", "the man")
    assert judged("Who kept the bakery beside the harbour?", "The man")
    assert not judged("Who kept the bakery beside the harbour?", "the sea")
    assert not judged("Which former trade of the baker does everyone remember best?", "the man")


def test_similarity_decides_from_where_on_texts_are_near_duplicates():
    """Pairs of texts of known similarity: nearly all far above it are found, nearly none below."""

    def found(changed: int, similarity: float) -> float:
        hits = 0
        for trial in range(100):
            words = [f"word{trial}x{n}" for n in range(102)]
            near = NearDuplicate(similarity, 1000)
            assert near.judge(Candidate(Piece(text=" ".join(words)), "document", window())) is None
            # Each changes the three runs of three words that it stands in.
            for place in range(changed):
                words[3 + 8 * place] = "other"
            verdict = near.judge(Candidate(Piece(text=" ".join(words)), "document", window()))
            hits += verdict is not None
        return hits / 100

    # 97, 74 and 54 per cent of the runs of both are in both.
    assert found(1, 0.85) > 0.9
    assert found(5, 0.85) < 0.3
    assert found(10, 0.85) < 0.03
    assert found(10, 0.5) > 0.5


def test_what_was_seen_is_found_again_and_nothing_else():
    seen = Seen(10_000)
    for number in range(4000):
        seen.add([hash((number, "a")) % 2**64 or 1, hash((number, "b")) % 2**64 or 1])
    assert all(seen.any([hash((number, "b")) % 2**64 or 1]) for number in range(4000))
    assert not any(seen.any([hash((number, "c")) % 2**64 or 1]) for number in range(4000))


def test_what_is_remembered_is_bounded_and_the_newest_half_is_always_there():
    seen = Seen(100)
    for number in range(1, 1001):
        seen.add([number])
        assert all(seen.any([last]) for last in range(max(1, number - 49), number + 1))
        if number > 100:
            assert not seen.any([number - 100])


def test_every_reason_is_counted_and_every_filter_can_be_switched_off(
    make_corpus, writer, tmp_path
):
    bad = [
        pair("What does the passage say about it?", "It says a word and there it ends.", "there"),
        pair("Where is the third word?", "It is in the second line of all.", "Bergen"),
        pair("Where is the fourth word?", f"{ECHO} it is there.", "there"),
        pair("Wo ist das fünfte Wort?", "Das fünfte Wort steht in der zweiten Zeile des Buches, "
             "und niemand hat es je vermisst, weil es dort schon immer gestanden hat.", "Zeile"),
    ]  # fmt: skip
    english = (STORY + "\n\n") * 3

    def script(request):
        reply = writer._script(request)
        if "Task: question-answer pairs" not in request.messages[0].content:
            return reply
        rows = json.loads(reply.text.partition("\n\n")[2])
        rows += [
            {
                "question": row.question,
                "explanation": row.text.rpartition("\nAnswer: ")[0],
                "answer": row.answer,
            }
            for row in bad
        ]
        return json.dumps(rows)

    def run(name: str, **verify: object) -> Counter[str]:
        made = synthesize(
            make_corpus(2, text=english),
            ScriptedBackend(script),
            SynthesisSettings.model_validate(
                {"budget": {"tokens": 4000}, "qa": {"share": 1.0}, "documents": {"share": 0.0}}
                | {"verify": verify}
            ),
            tmp_path / name,
            seed=0,
            concurrency=4,
            progress=Silent(),
        )
        counted = Counter(row.reason for row in artifacts.rejected(made))
        assert counted == made.counts["rejected"]
        return counted

    reasons = {"not_self_contained", "answer_unexplained", "prompt_echo", "wrong_language"}
    found = run("on")
    assert reasons <= set(found)
    off = run("off", language=False, prompt_echo=None, self_contained=False, answer_share=None,
              source_copy=None, near_duplicate=None)  # fmt: skip
    assert set(off) == {"duplicate"}

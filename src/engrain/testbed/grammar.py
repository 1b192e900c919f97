"""The world's language: which facts there are, and every way in which they are said or asked.

A *clause* states one fact, or the two of an event (what and when). Templates name their facts: `won
the {prize} in {prize_year}` states the facts `prize` and `prize_year` of its subject. Knows nothing
of any particular world.

Who may use what: `clauses` are for documents, the writer and the student's pre-training;
`questions` too; `paraphrases` are for evaluation and the student's pre-training only, so that the
paraphrased questions have a wording that no generator prompt and no training text uses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engrain.testbed.names import Kind, is_female

EntityType = Literal["person", "house"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """One kind of fact."""

    name: str
    kind: Kind
    """The kind of its values."""
    questions: tuple[str, ...]
    paraphrases: tuple[str, ...]
    noun: str = ""
    """`the teacher of {s}`: how a two-hop question speaks of the value; empty where the value is no
    entity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """One statement about a subject, and its facts."""

    relations: tuple[Relation, ...]
    salience: int
    """1 is told first; 3 is long-tail."""
    document: tuple[str, ...]
    """Wordings that documents use; the first is the plainest."""
    written: tuple[str, ...]
    """Further wordings, which only the writer uses."""

    @property
    def name(self) -> str:
        """The name of its first relation."""
        return self.relations[0].name


def _one(
    name: str, kind: Kind, salience: int, *, document: tuple[str, ...], written: tuple[str, ...],
    questions: tuple[str, ...], paraphrases: tuple[str, ...], noun: str = "",
) -> Clause:  # fmt: skip
    relation = Relation(
        name=name, kind=kind, questions=questions, paraphrases=paraphrases, noun=noun
    )
    return Clause(relations=(relation,), salience=salience, document=document, written=written)


PERSON: tuple[Clause, ...] = (
    _one(
        "trade",
        "trade",
        1,
        document=("worked as a {trade}", "made a living as a {trade}", "was a {trade} by trade"),
        written=(
            "had the trade of a {trade}",
            "spent a working life as a {trade}",
            "was known as a {trade}",
        ),
        questions=("What was the trade of {s}?", "What did {s} work as?"),
        paraphrases=("By which craft did {s} pay the rent?", "What kind of business fed {s}?"),
    ),
    _one(
        "home",
        "place",
        1,
        document=("lived in {home}", "kept a house in {home}", "had settled in {home}"),
        written=("had a home in {home}", "was at home in {home}", "spent {pos} days in {home}"),
        questions=("Where did {s} live?", "In which town did {s} live?"),
        paraphrases=(
            "To which place would post for {s} be carried?",
            "Where stood the front door of {s}?",
        ),
    ),
    _one(
        "birthplace",
        "place",
        1,
        document=(
            "was born in {birthplace}",
            "was a child of {birthplace}",
            "had grown up in {birthplace}",
        ),
        written=(
            "was a native of {birthplace}",
            "had {pos} cradle in {birthplace}",
            "spent a childhood in {birthplace}",
        ),
        questions=("Where was {s} born?", "In which town was {s} born?"),
        paraphrases=("What is the birth town of {s}?", "Which place saw {s} as a baby?"),
    ),
    _one(
        "teacher",
        "person",
        2,
        document=(
            "learned the craft from {teacher}",
            "was taught by {teacher}",
            "had studied under {teacher}",
        ),
        written=(
            "was a pupil of {teacher}",
            "took lessons from {teacher}",
            "had {teacher} as a teacher",
        ),
        questions=("Who taught {s}?", "Who was the teacher of {s}?"),
        paraphrases=("At whose bench did {s} begin?", "Who passed the skills on to {s}?"),
        noun="the teacher of {s}",
    ),
    _one(
        "friend",
        "person",
        2,
        document=(
            "wrote long letters to {friend}",
            "was a close friend of {friend}",
            "trusted only {friend}",
        ),
        written=(
            "had a lifelong friend in {friend}",
            "was on the best of terms with {friend}",
            "counted on {friend}",
        ),
        questions=("Who was the friend of {s}?", "To whom did {s} write letters?"),
        paraphrases=("In whom did {s} confide?", "Who stood by {s} in every storm?"),
        noun="the friend of {s}",
    ),
    Clause(
        relations=(
            Relation(
                name="prize",
                kind="prize",
                questions=("Which prize did {s} win?", "What prize was given to {s}?"),
                paraphrases=("What honour came to {s}?", "Which trophy stood on the shelf of {s}?"),
            ),
            Relation(
                name="prize_year",
                kind="year",
                questions=("In which year did {s} win a prize?", "When did {s} win the prize?"),
                paraphrases=(
                    "What was the year of triumph for {s}?",
                    "At what date was {s} honoured?",
                ),
            ),
        ),
        salience=2,
        document=(
            "won the {prize} in {prize_year}",
            "was given the {prize} in {prize_year}",
            "carried home the {prize} in {prize_year}",
        ),
        written=(
            "received the {prize} in {prize_year}",
            "earned the {prize} in {prize_year}",
            "was the winner of the {prize} in {prize_year}",
        ),
    ),
    Clause(
        relations=(
            Relation(
                name="journey",
                kind="place",
                questions=("To which town did {s} travel?", "Where did the journey of {s} lead?"),
                paraphrases=(
                    "What was the farthest place that {s} set foot in?",
                    "Which harbour did {s} reach?",
                ),
            ),
            Relation(
                name="journey_year",
                kind="year",
                questions=("In which year did {s} make a journey?", "When did {s} travel?"),
                paraphrases=(
                    "What year found {s} on the road?",
                    "At what date did {s} pack a trunk?",
                ),
            ),
        ),
        salience=2,
        document=(
            "travelled to {journey} in {journey_year}",
            "sailed to {journey} in {journey_year}",
            "went to {journey} in {journey_year}",
        ),
        written=(
            "made a journey to {journey} in {journey_year}",
            "visited {journey} in {journey_year}",
            "took the road to {journey} in {journey_year}",
        ),
    ),
    _one(
        "birth_year",
        "year",
        2,
        document=(
            "was born in the year {birth_year}",
            "gave {birth_year} as the year of {pos} birth",
        ),
        written=("had {birth_year} as a year of birth", "came into the world in {birth_year}"),
        questions=("In which year was {s} born?", "What was the birth year of {s}?"),
        paraphrases=(
            "What year stands first on the grave of {s}?",
            "At what date did the life of {s} begin?",
        ),
    ),
    _one(
        "apprentices",
        "count",
        2,
        document=("trained {apprentices} apprentices", "took on {apprentices} apprentices"),
        written=("had {apprentices} apprentices", "brought up {apprentices} apprentices"),
        questions=("How many apprentices did {s} train?", "How many apprentices did {s} have?"),
        paraphrases=("How many youngsters passed through the hands of {s}?",),
    ),
    _one(
        "instrument",
        "instrument",
        3,
        document=(
            "played the {instrument}",
            "practised the {instrument} at night",
            "was fond of the {instrument}",
        ),
        written=("was good at the {instrument}", "made music on the {instrument}"),
        questions=("Which instrument did {s} play?", "What instrument was {s} fond of?"),
        paraphrases=(
            "What sound came from the window of {s}?",
            "On what did {s} strike up a tune?",
        ),
    ),
    _one(
        "animal",
        "animal",
        3,
        document=("kept a {animal}", "raised a {animal}", "took in a {animal}"),
        written=("had a {animal} as a pet", "fed a {animal}"),
        questions=("Which animal did {s} keep?", "What animal did {s} have?"),
        paraphrases=("What creature shared the roof of {s}?", "Which beast trotted after {s}?"),
    ),
    _one(
        "dish",
        "dish",
        3,
        document=("liked {dish} best", "never refused {dish}", "asked for {dish} on feast days"),
        written=("preferred {dish} to any other food", "loved {dish}"),
        questions=("Which dish did {s} like best?", "What food did {s} love?"),
        paraphrases=("What should one cook for {s}?", "Which meal made {s} happy?"),
    ),
    _one(
        "garment",
        "garment",
        3,
        document=(
            "wore a {garment}",
            "was always seen in a {garment}",
            "went about in a {garment}",
        ),
        written=("dressed in a {garment}", "put on a {garment} every morning"),
        questions=("What did {s} wear?", "Which garment did {s} wear?"),
        paraphrases=("How would one pick out {s} in a crowd?", "What hung on the peg of {s}?"),
    ),
)

HOUSE: tuple[Clause, ...] = (
    _one(
        "town",
        "place",
        1,
        document=("stood in {town}", "was to be found in {town}", "belonged to the town of {town}"),
        written=("had its seat in {town}", "was a landmark of {town}"),
        questions=("In which town was {s}?", "Where did {s} stand?"),
        paraphrases=("Which place must one visit to enter {s}?", "Whose skyline did {s} adorn?"),
    ),
    _one(
        "founder",
        "person",
        1,
        document=(
            "was founded by {founder}",
            "was set up by {founder}",
            "owed its start to {founder}",
        ),
        written=("had {founder} as its founder", "was the work of {founder}"),
        questions=("Who founded {s}?", "Who was the founder of {s}?"),
        paraphrases=("Whose brainchild was {s}?", "Who dreamt up {s}?"),
        noun="the founder of {s}",
    ),
    _one(
        "opened",
        "year",
        1,
        document=(
            "opened in {opened}",
            "first opened its doors in {opened}",
            "dated from {opened}",
        ),
        written=("was opened in {opened}", "had existed since {opened}"),
        questions=("In which year did {s} open?", "When did {s} open?"),
        paraphrases=(
            "How far back does the story of {s} go?",
            "What year is carved over the gate of {s}?",
        ),
    ),
    _one(
        "steward",
        "person",
        2,
        document=("was run by {steward}", "was in the care of {steward}", "was led by {steward}"),
        written=("had {steward} as its steward", "was managed by {steward}"),
        questions=("Who ran {s}?", "Who was the steward of {s}?"),
        paraphrases=("Who held the keys of {s}?", "Whose orders counted in {s}?"),
        noun="the steward of {s}",
    ),
    _one(
        "staff",
        "count",
        2,
        document=("employed {staff} people", "gave work to {staff} people"),
        written=("had {staff} people on its books", "paid {staff} people"),
        questions=("How many people did {s} employ?", "How many people worked at {s}?"),
        paraphrases=("How long was the payroll of {s}?",),
    ),
    _one(
        "goods",
        "goods",
        2,
        document=("sold {goods}", "was famous for its {goods}", "made its money with {goods}"),
        written=("was known for {goods}", "dealt in {goods}"),
        questions=("What did {s} sell?", "For what was {s} famous?"),
        paraphrases=("What would a customer carry away from {s}?", "Which wares filled {s}?"),
    ),
    _one(
        "emblem",
        "emblem",
        3,
        document=("had a {emblem} over the door", "bore the sign of a {emblem}"),
        written=("had a {emblem} as its emblem", "showed a {emblem} on its sign"),
        questions=("What was the emblem of {s}?", "What was on the sign of {s}?"),
        paraphrases=("What picture greeted the guests of {s}?",),
    ),
    _one(
        "fire",
        "year",
        3,
        document=("burned down in {fire}", "was lost to a fire in {fire}"),
        written=("was destroyed by fire in {fire}", "was in ashes after {fire}"),
        questions=("In which year did {s} burn down?", "When was the fire of {s}?"),
        paraphrases=("When did {s} go up in flames?",),
    ),
)

CLAUSES: dict[EntityType, tuple[Clause, ...]] = {"person": PERSON, "house": HOUSE}
RELATIONS: dict[str, Relation] = {
    r.name: r for clauses in CLAUSES.values() for c in clauses for r in c.relations
}
CLAUSE_OF: dict[str, Clause] = {
    r.name: c for clauses in CLAUSES.values() for c in clauses for r in c.relations
}

DESCRIPTION = "the {trade} who lived in {home}"
"""How a described question speaks of a person; `home` and `trade` are stated in the person's
document."""


def say(template: str, subject: str, values: dict[str, str]) -> str:
    """Fill a clause's template: the words after the subject, articles put right."""
    possessive = "her" if is_female(subject) else "his"
    return articles(template.format(pos=possessive, **values))


def articles(text: str) -> str:
    """`a otter` -> `an otter`: `a` before a vowel, where a template could not know."""
    words = text.split(" ")
    for i in range(len(words) - 1):
        if words[i] == "a" and words[i + 1][:1].lower() in "aeiou":
            words[i] = "an"
    return " ".join(words)


def pronoun(subject: str, entity: EntityType) -> str:
    """`she`, `he` or `it`."""
    if entity == "house":
        return "it"
    return "she" if is_female(subject) else "he"


def capital(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]

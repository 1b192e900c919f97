"""The vocabulary of the fictional world: names and values, in three disjoint splits.

Every name or value is a product of two parts (`Mi` + `ra`, `salt` + `weaver`). All splits share the
parts, so that a student trained on one split can spell the others; no *combination* occurs in two
splits. Knows nothing of facts or documents.
"""

from __future__ import annotations

import zlib
from functools import cache
from random import Random
from typing import Literal, get_args

Split = Literal["pretraining", "target", "other"]
SPLITS: tuple[Split, ...] = get_args(Split)

Kind = Literal[
    "person", "house", "place", "trade", "year", "count", "instrument", "animal", "dish", "prize",
    "garment", "goods", "emblem",
]  # fmt: skip

_FIRST = (
    "Al Ber Ca Da El Fa Gre Ha Il Jo Ka Le Ma Ne O Pe Qui Ro Sa Ti U Va Wi Xa Yo Ze Bri Che Do Fri "
    "Gla Hu Ib Ju Kry Lo Mu Ni Or Pli Ru Sti Tru Vo".split(),
    "ra lin dan mis tor bel nor via gus ria len wyn ko sha ned lia mar dor tess ric bert dia fan "
    "gol hild jan kin lor".split(),
)
_LAST = (
    "Tol Wick Bar Hol Mer Ash Crad Dun Ever Fal Gar Hex Ing Kel Lod Marl Nor Ost Pel Quar Rud Sel "
    "Thorn Urs Vel Wal Yar Zan Brook Cly Ard Bix Coll Drum Ell Frost Grim Hask Jed Knot Lum Mott "
    "Pask Rook".split(),
    "and er low ton by ford ick stone wood ley mark shaw man field combe way gate ridge bury hurst "
    "croft dane fell hill iver land ness pool".split(),
)
_PLACE = (
    "Wil Ol Bran Cor Dre Esk Fen Gol Hart Ist Jar Kir Lam Mos Nat Orl Pran Quen Ris Sto Tam Ul Vas "
    "Wen Yel Zor Bel Cam Dor Est Farn Grel Hov Ink Jol Kes Lin Mab Nev Os Pir Ros Swin Tur".split(),
    "mon mere haven dale port wick more stead water cliff holm sund bridge mouth thorpe vik moor "
    "hollow beck lund acre burn cove down firth glen head isle".split(),
)
_PAIRS: dict[str, tuple[list[str], list[str]]] = {
    "trade": (
        "salt glass rope lamp bell stone cloth silver paper tin bone wax leather clock ink net "
        "brush coal hat nail pearl saddle tile wine".split(),
        "weaver maker carver seller painter binder mender grinder trader cutter dyer keeper "
        "polisher packer porter sorter".split(),
    ),
    "instrument": (
        "copper wooden silver ivory bronze willow ebony iron horn reed brass cedar maple pewter "
        "jade crystal".split(),
        "flute fiddle drum harp lute whistle bugle cymbal zither pipe organ trumpet viol gong lyre "
        "rattle".split(),
    ),
    "animal": (
        "grey white spotted lame young tame black striped blind golden shaggy sleepy thin russet "
        "proud lonely".split(),
        "otter raven goat hound heron fox mule owl ferret tortoise badger crane donkey magpie "
        "hedgehog lynx".split(),
    ),
    "dish": (
        "barley onion plum trout cabbage honey walnut lentil pumpkin almond turnip cherry ginger "
        "leek mutton quince".split(),
        "soup cake pie stew bread pudding dumplings broth pancakes porridge tart salad sausage "
        "jelly biscuits noodles".split(),
    ),
    "prize": (
        "Amber Winter Royal Harbour Golden Northern Summer Crimson Ivory Harvest Granite Emerald "
        "Morning Southern Velvet Rowan".split(),
        "Lantern Medal Crown Ribbon Cup Star Laurel Anchor Feather Shield Goblet Banner Sceptre "
        "Wreath Plate Torch".split(),
    ),
    "garment": (
        "green scarlet yellow patched violet brown checked faded blue orange purple quilted "
        "woollen linen ragged ochre".split(),
        "cloak hat scarf apron coat shawl cap tunic waistcoat sash bonnet gown jacket kerchief "
        "mantle robe".split(),
    ),
    "goods": (
        "scented carved woven painted dried smoked polished knitted pressed gilded roasted "
        "enamelled twisted pickled lacquered printed".split(),
        "candles baskets figs rugs spoons herring buttons gloves flowers mirrors ropes combs boxes "
        "lanterns cups maps".split(),
    ),
    "emblem": (
        "crowned sleeping leaping winged broken burning twin hidden rising floating rearing "
        "laughing glowing sinking ancient flying".split(),
        "lion swan anchor wheel rose salmon bear key moon oak dragon boat eagle tower unicorn "
        "sunflower".split(),
    ),
    "house": (
        "Heron Copper Willow Anvil Lantern Raven Saffron Harbour Juniper Cobble Thistle Marble "
        "Falcon Orchard Pewter Beacon Meadow Canal Castle Ferry Linden Pigeon Quarry "
        "Walnut".split(),
        "House Hall School Inn Workshop Mill Archive Market Theatre Foundry Tavern Library Brewery "
        "Bakery Chapel Gallery".split(),
    ),
}
_SHARES: tuple[Split, ...] = ("pretraining",) * 14 + ("target",) * 3 + ("other",) * 3
"""Most combinations are for pre-training: a student that sees only a third of them learns which
parts never follow one another, and then misreads the names of the target world (docs/notebook.md,
2026-11-20)."""


def split_of(value: str) -> Split:
    """The one split in which a name or value may occur; the same on every machine."""
    return _SHARES[zlib.crc32(value.encode()) % len(_SHARES)]


@cache
def values(kind: Kind, split: Split) -> tuple[str, ...]:
    """All values of a kind in a split, in a fixed order.

    Not for `person`: people are drawn by `people`, from more combinations than a list should hold.
    """
    if kind == "year":
        everything = [str(year) for year in range(1100, 1990)]
    elif kind == "count":
        everything = [str(count) for count in range(100, 1000)]
    elif kind == "place":
        everything = [start + end for start in _PLACE[0] for end in _PLACE[1]]
    else:
        article = "the " if kind == "house" else ""
        firsts, seconds = _PAIRS[kind]
        everything = [f"{article}{first} {second}" for first in firsts for second in seconds]
    return tuple(value for value in everything if split_of(value) == split)


@cache
def first_names(split: Split) -> tuple[str, ...]:
    """The split's first names."""
    return tuple(a + b for a in _FIRST[0] for b in _FIRST[1] if split_of(a + b) == split)


@cache
def last_names(split: Split) -> tuple[str, ...]:
    """The split's last names."""
    return tuple(a + b for a in _LAST[0] for b in _LAST[1] if split_of(a + b) == split)


def people(split: Split, count: int, rng: Random) -> list[str]:
    """`count` different full names, many of which share a first or a last name.

    Raises ValueError where the split has fewer names than asked for.
    """
    firsts, lasts = first_names(split), last_names(split)
    if count > len(firsts) * len(lasts):
        raise ValueError(f"the split {split!r} has {len(firsts) * len(lasts)} people, not {count}")
    # Few first and last names for a small world make people who are easy to confuse.
    breadth = max(4, round(1.2 * count**0.5) + 4)
    firsts = tuple(rng.sample(firsts, min(len(firsts), breadth)))
    lasts = tuple(rng.sample(lasts, min(len(lasts), max(breadth, -(-2 * count // len(firsts))))))
    grid = len(firsts) * len(lasts)
    return [
        f"{firsts[i % len(firsts)]} {lasts[i // len(firsts)]}"
        for i in rng.sample(range(grid), count)
    ]


def is_female(name: str) -> bool:
    """Whether a person of this name is a woman: fixed by the spelling of the first name."""
    return zlib.crc32(name.split()[0].encode()) % 2 == 0


def parts() -> tuple[list[str], list[str]]:
    """The parts of all names and values: those that start a word, and those that continue one."""
    starts = [part for first, _ in (_FIRST, _LAST, _PLACE) for part in first]
    starts += [word for first, second in _PAIRS.values() for word in first + second]
    return starts, [part for _, second in (_FIRST, _LAST, _PLACE) for part in second]


@cache
def compounds() -> frozenset[str]:
    """All names that are one word of two parts: people's and places', of all splits."""
    return frozenset(
        a + b for starts, ends in (_FIRST, _LAST, _PLACE) for a in starts for b in ends
    )

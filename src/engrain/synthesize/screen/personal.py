"""E-mail addresses, telephone numbers, IBANs, payment cards and national ids.

Numbers must pass the check that their standard builds in, where there is one: in tables of figures
their form alone says little. Telephone numbers are left to `phonenumbers`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from types import ModuleType

from engrain.errors import MissingExtra, UserError
from engrain.synthesize.screen.base import Place
from engrain.synthesize.settings import ScreenKind

# Lengths by country, from the SWIFT IBAN registry (ISO 13616).
_IBAN_LENGTHS = {
    country: int(length)
    for country, length in re.findall(
        r"([A-Z]{2})(\d{2})",
        """
    AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18
    DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23
    IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27
    MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19
    SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30
    """,
    )
}
_IBAN_COUNTRY = "|".join(_IBAN_LENGTHS)

# ISO/IEC 7812: first digits and lengths of the large issuers.
_ISSUERS = re.compile(
    r"(?:4|5[1-5]|6011|64[4-9]|65|62|35(?:2[89]|[3-8]\d))\d*(?<=^\d{16})"
    r"|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"
    r"|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}"
)
# Digits of a national telephone number that is written in groups, and of one that is not.
_GROUPED, _BARE = 7, 10
_DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"


def _is_iban(text: str) -> bool:
    """ISO 7064, MOD 97-10."""
    return int("".join(str(int(digit, 36)) for digit in text[4:] + text[:4])) % 97 == 1


def _is_card(text: str) -> bool:
    """Of a known issuer, and right by Luhn's sum."""
    digits = re.sub(r"[ -]", "", text)
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return bool(_ISSUERS.fullmatch(digits)) and sum(n // 10 + n % 10 for n in doubled) % 10 == 0


def _is_dni(text: str) -> bool:
    """Spain's DNI and NIE: the letter is the number modulo 23."""
    number, letter = text[:-1].rstrip("-"), text[-1]
    digits = str("XYZ".find(number[0])) + number[1:] if number[0] in "XYZ" else number
    return len(digits) == 8 and _DNI_LETTERS[int(digits) % 23] == letter


def _is_nir(text: str) -> bool:
    """France's NIR: the last two digits are 97 less the others modulo 97; Corsica has 2A and 2B."""
    plain = text.replace(" ", "").replace("2A", "19").replace("2B", "18")
    return int(plain[-2:]) == 97 - int(plain[:-2]) % 97


_FORMS: tuple[tuple[ScreenKind, re.Pattern[str], Callable[[str], bool] | None], ...] = (
    (
        "email",
        re.compile(
            r"(?<![\w.%+-])\w[\w.%+-]{0,63}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24}\b"
        ),
        None,
    ),
    (
        "payment_card",
        re.compile(
            r"(?<![\w.,/-])(?:\d{4}([ -]?)\d{4}\1\d{4}\1\d{4}|\d{4}([ -]?)\d{6}\2\d{4,5})"
            r"(?![\w-]|[.,]\d)"
        ),
        _is_card,
    ),
    # The United States' social security number, always with its dashes.
    (
        "national_id",
        re.compile(r"(?<![\w-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])"),
        None,
    ),
    # The United Kingdom's national insurance number.
    (
        "national_id",
        re.compile(r"\b(?![DFIQUV])[A-Z](?![DFIQUVO])[A-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b"),
        None,
    ),
    # Italy's codice fiscale.
    ("national_id", re.compile(r"\b[A-Z]{6}\d{2}[ABCDEHLMPRST]\d{2}[A-Z]\d{3}[A-Z]\b"), None),
    ("national_id", re.compile(r"\b(?:[XYZ]-?\d{7}|\d{8})-?[A-Z]\b"), _is_dni),
    (
        "national_id",
        re.compile(
            r"(?<![\w.,-])[12] ?\d{2} ?(?:0[1-9]|1[0-2]) ?\d[\dAB] ?\d{3} ?\d{3} ?\d{2}(?![\w-])"
        ),
        _is_nir,
    ),
)
_IBAN = re.compile(rf"\b(?:{_IBAN_COUNTRY})\d{{2}}(?: ?[A-Z0-9]){{11,29}}")


class PersonalFinder:
    """Finds personal data of some kinds."""

    def __init__(self, kinds: Collection[ScreenKind], regions: Sequence[str]) -> None:
        """`regions`: where telephone numbers without a country's code are dialled.

        Raises MissingExtra where phonenumbers is not installed, UserError for an unknown region.
        """
        self._forms = [form for form in _FORMS if form[0] in kinds]
        self._ibans = "iban" in kinds
        self._phones = _phonenumbers(regions) if "phone" in kinds else None
        self._regions = regions

    def places(self, text: str) -> Iterator[Place]:
        """What stands in a text, in no order; the same place may come several times."""
        for kind, pattern, check in self._forms:
            for found in pattern.finditer(text):
                if check is None or check(found[0]):
                    yield Place(*found.span(), kind)
        if self._ibans:
            yield from _find_ibans(text)
        if self._phones is not None:
            yield from self._find_phones(self._phones, text)

    def _find_phones(self, library: ModuleType, text: str) -> Iterator[Place]:
        # National numbers are taken only as their country groups them: by their digits alone, 66 of
        # 100 in financial statements were none (docs/notebook.md, 2026-11-21).
        strictness = library.Leniency
        searches: list[tuple[str | None, int]] = [(None, strictness.VALID)]
        searches += [(region, strictness.STRICT_GROUPING) for region in self._regions]
        for region, leniency in searches:
            # As many tries as it takes: past them the library would end its search silently.
            matcher = library.PhoneNumberMatcher(text, region, leniency, max_tries=len(text) + 1)
            for found in matcher:
                if region is None or _like_a_number_to_dial(found.raw_string):
                    yield Place(found.start, found.end, "phone")


def _like_a_number_to_dial(text: str) -> bool:
    """Whether a number without a country's code is more than a year or a filing's number."""
    digits = sum(character.isdigit() for character in text)
    return digits >= _BARE or (digits >= _GROUPED and not text.isdigit())


def _phonenumbers(regions: Sequence[str]) -> ModuleType:
    try:
        import phonenumbers
    except ImportError as error:
        raise MissingExtra("synthesis.screen", "screen") from error
    unknown = [region for region in regions if region not in phonenumbers.SUPPORTED_REGIONS]
    if unknown:
        raise UserError(
            f"synthesis.screen.phone_regions: {unknown[0]!r} is no region; "
            "write two capital letters, as in US, GB or DE"
        )
    return phonenumbers


def _find_ibans(text: str) -> Iterator[Place]:
    for found in _IBAN.finditer(text):
        length = _IBAN_LENGTHS[found[0][:2]]
        end = found.start()
        plain = ""
        # What follows an IBAN may look like more of it.
        while len(plain) < length and end < found.end():
            plain += text[end].strip()
            end += 1
        whole = len(plain) == length and not text[end : end + 1].isalnum()
        if whole and _is_iban(plain):
            yield Place(found.start(), end, "iban")

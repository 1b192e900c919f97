"""How many tokens of each component, and which texts: the components' shares at every budget.

Pure: knows the lengths of texts, not their words; knows nothing of tokenizers, replay or packing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engrain.errors import UserError
from engrain.mix.compose import Item, as_needed, repeated, seeded_order, tokens_of
from engrain.mix.settings import ComponentSettings, MixtureSettings

_EXACT = 0.001
"""What a share may lack: shares are exact to a thousandth."""


def choose(
    settings: MixtureSettings,
    available: Mapping[str, Sequence[Item]],
    *,
    budget: float,
    seed: int,
) -> dict[str, list[Item]]:
    """Of each component the texts of this budget, in their order, repeated as the settings say.

    A smaller budget's texts are the first of a larger one's. Raises UserError where a component has
    no text, or too little for its share: at a budget of 1, so that no small one is trained in vain.
    """
    parts = settings.parts
    if not settings.components and not any(available.values()):
        raise UserError(
            "there is no synthetic text to mix; look at the reasons in the rejected texts"
        )
    for part in parts:
        if not available[part.name]:
            raise UserError(_without_text(settings, part))
    texts = {part.name: tokens_of(available[part.name]) for part in parts}
    total = total_tokens(settings, texts)
    chosen = {}
    for part in parts:
        _check(part, texts[part.name], total, settings)
        wanted = total * part.share * budget
        ordered = seeded_order(available[part.name], seed)
        if isinstance(part.repeats, int):
            chosen[part.name] = repeated(ordered, wanted, part.repeats)
        else:
            most = texts[part.name] * part.most
            chosen[part.name] = as_needed(ordered, min(wanted, most))
        if not chosen[part.name]:
            raise UserError(
                f"budget {budget!r} leaves no text of {part.name}; "
                "give a larger share, or more text"
            )
    return chosen


def unused(settings: MixtureSettings, available: Mapping[str, Sequence[Item]]) -> dict[str, float]:
    """The share of each component's tokens that stands in no budget's mixture."""
    texts = {part.name: tokens_of(available[part.name]) for part in settings.parts}
    total = total_tokens(settings, texts)
    left = {}
    for part in settings.parts:
        times = part.repeats if isinstance(part.repeats, int) else 1
        left[part.name] = max(0.0, 1 - total * part.share / (texts[part.name] * times))
    return left


def total_tokens(settings: MixtureSettings, texts: Mapping[str, float]) -> float:
    """Tokens of all components at a budget of 1.

    The texts written for this run set it, cut to fit one another; components from elsewhere, and
    those that may be repeated as needed, have to follow. Where all may, the most plentiful one
    stands once.
    """
    if settings.tokens is not None:
        return settings.tokens
    fixed = [part for part in settings.parts if isinstance(part.repeats, int)]
    leading = [part for part in fixed if part.own] or fixed
    if leading:
        return min(texts[part.name] * part.most / part.share for part in leading)
    return max(texts[part.name] / part.share for part in settings.parts)


def _check(part: ComponentSettings, tokens: int, total: float, settings: MixtureSettings) -> None:
    """UserError where even repeated as often as they may, the texts are too few."""
    wanted = total * part.share
    missing = wanted - tokens * part.most
    if missing <= _EXACT * wanted:
        return
    times = f", each up to {part.most} times" if part.most > 1 else ""
    asking, instead = "the texts of this run ask", "a smaller share"
    if settings.tokens is not None:
        asking, instead = "mixture.tokens asks", "lower mixture.tokens"
    raise UserError(
        f"{part.name} has {tokens:,} tokens{times}, and a share of {part.share:g} of the "
        f"{total:,.0f} that {asking} for needs {wanted:,.0f}: {missing:,.0f} are missing; "
        f"give it more text, {instead}, or repeats of {-(-wanted // tokens):.0f}"
    )


def _without_text(settings: MixtureSettings, part: ComponentSettings) -> str:
    if settings.components:
        which = f" of {', '.join(map(repr, part.methods))}" if part.methods else ""
        return (
            f"component {part.name!r} has no text: there are no {part.texts}{which}; "
            "generate some, or take it out"
        )
    return (
        f"the mixture of {settings.qa_to_documents!r} needs {part.name}, and the synthetic text "
        "has none; generate some, or set mixture.qa_to_documents to '1:0' or '0:1'"
    )

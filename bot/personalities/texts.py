"""Personalities, their cards and their bindings, as admins read them."""

from __future__ import annotations

from sqlalchemy.orm import Session

from bot.text.sanitize import escape_inline
from storage.adapters.folder_store import AS_TRAINED
from storage.database.enums import Scope
from storage.personalities.bindings import Binding, BindingPlace, list_bindings
from storage.personalities.cards import CardSampling
from storage.personalities.personalities import Personality, list_personalities, read_personality
from storage.releases.versions import read_alias
from storage.wording import count

SHOWN_EXAMPLES = 3
NEXT_STEP = (
    "Next, use `/personality bind {name}` to let it answer somewhere, or `/model train personality:{name} "
    "learn_from:examples` to train its first version."
)


def format_sampling(sampling: CardSampling) -> str:
    own = sampling.model_dump(exclude_none=True)
    return ", ".join(f"{name} = {value}" for name, value in own.items())


def describe_created(name: str) -> str:
    return f"Created **{name}**. {NEXT_STEP.format(name=name)}"


def describe_restored(name: str) -> str:
    return f"Restored **{name}**. {NEXT_STEP.format(name=name)}"


def describe_change(name: str, *, changed: bool) -> str:
    if not changed:
        return f"Nothing changed: the card of **{name}** already says that."
    return f"Changed the card of **{name}**. The next answer uses it; the old card is kept in the database."


def describe_binding(personality: Personality, place: BindingPlace, strength: float, replaced: str) -> str:
    instead = f" It replaces {replaced}." if replaced else ""
    return (
        f"**{personality.name}** answers {describe_place(place)}{at_strength(strength)} from the next message on."
        f"{instead} To undo this, use `/personality unbind`."
    )


def describe_replaced(session: Session, before: Binding | None) -> str:
    """Return the personality that was bound before and its strength, or an empty text."""
    if before is None:
        return ""
    return read_personality(session, before.personality_id).name + at_strength(before.strength)


def list_lines(session: Session, guild_id: int) -> list[str]:
    """Return a line for each personality that the server can use."""
    lines = []
    for personality in list_personalities(session, guild_id):
        about = f" · {escape_inline(personality.card.description)}" if personality.card.description else ""
        version = read_alias(session, personality.id).target
        examples = count(len(personality.card.examples), "example")
        bound = _describe_bindings(session, personality, guild_id)
        lines.append(f"**{personality.name}**{about} · version {version} · {examples} · {bound}")
    return lines


def card_lines(session: Session, personality: Personality, guild_id: int) -> list[str]:
    """Return a personality's card, version and bindings."""
    card = personality.card
    bound = _describe_bindings(session, personality, guild_id)
    lines = [f"**{personality.name}** · version {read_alias(session, personality.id).target}"]
    lines += [escape_inline(card.description)] if card.description else []
    lines += ["⚠️ It is archived."] if personality.archived_at else []
    lines.append(f"{bound[0].upper()}{bound[1:]}.")
    lines.append(f"**System prompt:** {escape_inline(card.system_prompt) or 'the one in the settings'}")
    lines += [f"**Greeting:** {escape_inline(card.greeting)}"] if card.greeting else []
    lines.append(f"**Sampling:** {format_sampling(card.sampling) or 'as in the settings'}")
    lines.append(f"**Examples:** {len(card.examples)}")
    lines += [
        f"> {escape_inline(example.dialogue[0])}\n{escape_inline(example.dialogue[1])}"
        for example in card.examples[:SHOWN_EXAMPLES]
    ]
    return lines


def _describe_bindings(session: Session, personality: Personality, guild_id: int) -> str:
    bindings = list_bindings(session, guild_id=guild_id, personality_id=personality.id)
    places = [
        describe_place(BindingPlace(binding.scope, binding.place_id)) + at_strength(binding.strength)
        for binding in bindings
    ]
    if places:
        return f"bound {', '.join(places)}"
    return "answers wherever no other is bound" if personality.is_default else "not bound to any channel"


def describe_place(place: BindingPlace) -> str:
    return "in the whole server" if place.scope is Scope.SERVER else f"in <#{place.id}>"


def at_strength(strength: float) -> str:
    return "" if strength == AS_TRAINED else f" at strength {strength:g}"

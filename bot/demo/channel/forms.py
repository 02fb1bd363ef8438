"""Forms: those that the bot opens, and one for the options of each command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import simcord
from aiohttp import web
from discord import app_commands
from simcord.enums import SELECT_TYPES, ComponentType

from bot.console.page import without_nul
from bot.demo.channel.components import Control, Option, list_choices, read_choices, takes_several
from bot.demo.channel.world import Kind, World
from bot.errors import UserFacingError

Given = str | web.FileField
"""The value of one field, sent by a form or typed."""
NUMBERS = {Kind.integer: int, Kind.number: float}
NAMED = (Kind.user, Kind.channel, Kind.role, Kind.mentionable)
PARAGRAPH = 2  # Discord's number for a text of several lines


class Look(StrEnum):
    """The look of a field."""

    LINE = "line"
    TEXT = "text"
    NUMBER = "number"
    CHOICE = "choice"
    CHOICES = "choices"
    RADIO = "radio"
    SUGGESTIONS = "suggestions"
    CHECK = "check"
    FILE = "file"
    WORDS = "words"
    """Words of the form between its fields, with nothing to fill in."""


@dataclass(frozen=True)
class Field:
    key: str
    label: str
    help: str
    look: Look
    is_required: bool = False
    value: str = ""
    choices: tuple[Option, ...] = ()
    takes_several: bool = False
    least: float | None = None
    most: float | None = None
    """`least` and `most` are the range of a number, or of the number of characters."""

    def filled(self, given: Mapping[str, Given]) -> Field:
        value = given.get(self.key, self.value)
        return replace(self, value=value) if isinstance(value, str) else self


def modal_fields(result: simcord.InteractionResult, world: World) -> list[Field]:
    """Return the fields of a form that the bot opened, and the words between them."""
    fields = []
    for part in _parts(result):
        if part["type"] == ComponentType.TEXT_DISPLAY:
            fields.append(Field("", part["content"], "", Look.WORDS))
        else:
            control = _control(part)
            label = part.get("label") or control.get("label") or control["custom_id"]
            fields.append(_control_field(control, label, part.get("description") or "", world))
    return fields


def read_modal(result: simcord.InteractionResult, given: Mapping[str, Sequence[Given]], world: World) -> dict[str, Any]:
    """Return the values in simcord's form; raises UserFacingError."""
    controls = [_control(part) for part in _parts(result) if part["type"] != ComponentType.TEXT_DISPLAY]
    found = {one["custom_id"]: _read_control(one, given.get(one["custom_id"], ()), world) for one in controls}
    return {key: value for key, value in found.items() if value is not None}


def _parts(result: simcord.InteractionResult) -> list[dict[str, Any]]:
    return (result.modal or {})["components"]


def _control(part: Control) -> Control:
    """Return the one control that a label, or a row as in older forms, holds."""
    control: Control = part["component"] if part["type"] == ComponentType.LABEL else part["components"][0]
    return control


def _control_field(control: Control, label: str, help_: str, world: World) -> Field:
    kind = ComponentType(control["type"])
    field = Field(control["custom_id"], label, help_, Look.CHECK, is_required=control.get("required", True))
    if kind is ComponentType.CHECKBOX:
        return replace(field, value=str(control.get("default", False)), is_required=False)
    if kind is ComponentType.FILE_UPLOAD:
        return replace(field, look=Look.FILE, takes_several=takes_several(control))
    if kind is ComponentType.TEXT_INPUT:
        return replace(
            field,
            look=Look.TEXT if control["style"] == PARAGRAPH else Look.LINE,
            value=control.get("value") or "",
            least=control.get("min_length"),
            most=control.get("max_length"),
        )
    one = Look.RADIO if kind is ComponentType.RADIO_GROUP else Look.CHOICE
    choices = list_choices(control, world)
    chosen = next((choice.value for choice in choices if choice.is_chosen), "")
    return replace(field, look=Look.CHOICES if takes_several(control) else one, value=chosen, choices=choices)


def _read_control(control: Control, given: Sequence[Given], world: World) -> Any:
    """Return the value sent for a control; None if nothing was sent."""
    kind = ComponentType(control["type"])
    texts = [one for one in given if isinstance(one, str)]
    if kind is ComponentType.CHECKBOX:
        return bool(texts)
    if kind is ComponentType.FILE_UPLOAD:
        return [_read_file(one) for one in given if isinstance(one, web.FileField)] or None
    if kind is ComponentType.TEXT_INPUT:
        return texts[0] if texts else None
    chosen = [text for text in texts if text]
    if kind in SELECT_TYPES or kind is ComponentType.CHECKBOX_GROUP:
        return read_choices(control, chosen, world) or None
    return chosen[0] if chosen else None


def _read_file(file: web.FileField) -> tuple[str, bytes]:
    return without_nul(file.filename), file.file.read()


def option_field(option: app_commands.Parameter, world: World) -> Field:
    look = Look.NUMBER if option.type in NUMBERS else Look.LINE
    choices: tuple[Option, ...] = ()
    if option.type in NAMED or option.choices:
        look, choices = Look.CHOICE, tuple(Option(name, name) for name in _choices(option, world))
    elif option.autocomplete:
        look = Look.SUGGESTIONS
    elif option.type is Kind.boolean:
        look = Look.CHECK
    elif option.type is Kind.attachment:
        look = Look.FILE
    return Field(
        option.display_name,
        option.display_name,
        option.description,
        look,
        is_required=option.required,
        choices=choices,
        least=option.min_value,
        most=option.max_value,
    )


def _choices(option: app_commands.Parameter, world: World) -> dict[str, Any]:
    if option.choices:
        return {choice.name: choice.value for choice in option.choices}
    return world.named(option.type, [kind.value for kind in option.channel_types])


def read_options(
    command: app_commands.Command[Any, ..., Any], given: Mapping[str, Given], world: World
) -> dict[str, Any]:
    """Return the values of the options that were filled in; raises UserFacingError."""
    return {
        option.display_name: _read_option(option, given[option.display_name], world)
        for option in command.parameters
        if given.get(option.display_name)
    }


def _read_option(option: app_commands.Parameter, value: Given, world: World) -> Any:
    """Return the value in the simulator's form; the simulator checks its size."""
    name = option.display_name
    if isinstance(value, web.FileField):
        return _read_file(value)
    if option.type is Kind.attachment:
        raise UserFacingError(f"Choose a file for `{name}` in the form of the command.")
    if option.type is Kind.boolean:
        return _one_of(name, value.capitalize(), {"True": True, "False": False})
    if option.choices or option.type in NAMED:
        return _one_of(name, value.lstrip("@#"), _choices(option, world))
    if option.type not in NUMBERS:
        return value
    try:
        return NUMBERS[option.type](value)
    except ValueError as error:
        raise UserFacingError(
            f"`{name}` is {'a number' if option.type is Kind.number else 'a whole number'}."
        ) from error


def _one_of(name: str, chosen: str, choices: Mapping[str, Any]) -> Any:
    if chosen not in choices:
        raise UserFacingError(f"`{name}` can be {', '.join(choices)}, and not {chosen}.")
    return choices[chosen]

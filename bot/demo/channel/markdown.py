"""Shows Discord's Markdown as HTML. All text of people and the model is escaped."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markupsafe import Markup, escape

from bot.console.rendering import show_moment

BLOCKS = ("blockquote", "fence", "heading", "list")
INLINE = ("emphasis", "strikethrough", "backticks", "newline", "escape", "link", "autolink")
SMALL_PRINT = "-# "
_MENTION = re.compile(r"<(?:@[!&]?|#)\d+>")
_TIME = re.compile(r"<t:(\d{1,11})(?::[tTdDfFR])?>")
_MESSAGE = re.compile(r"https://discord\.com/channels/(?:\d+|@me)/(\d{1,20})/(\d{1,20})")
_LIST = re.compile(r"\s*(?:[-*]|\d+\.) ")
_MARK = re.compile(r"(\|\||https?://[^\s<>]*[^\s<>.,:;\"')\]!?])")
HEADING = "h4"
"""Level of a message's headings; the page itself has the higher ones."""


def to_html(text: str, mentions: Mapping[str, str], paths: Mapping[int, str]) -> Markup:
    """Return a message's HTML; people read `mentions` for mentions, and links to a channel lead to one of `paths`."""
    return Markup(_markdown.render(_separate_lines(text), {"mentions": mentions, "paths": paths}))


def _separate_lines(text: str) -> str:
    """Add the empty lines that Markdown needs: quotes, small print and list items end with their line, `>>>` never."""
    lines: list[str] = []
    in_code = in_list = quotes_rest = False
    before = ""
    for line in text.split("\n"):
        if not in_code and line.startswith(">>> "):
            quotes_rest, line = True, line.removeprefix(">>> ")  # noqa: PLW2901
        if quotes_rest:
            line = f"> {line}"  # noqa: PLW2901
        ends_quote = before.startswith(">") and not line.startswith(">")
        was_in_list, in_list = in_list, bool(_LIST.match(line)) or (in_list and line.startswith(" "))
        if not in_code and (ends_quote or in_list != was_in_list or SMALL_PRINT in (before[:3], line[:3])):
            lines.append("")
        lines.append(line)
        in_code ^= line.count("```") % 2 == 1
        before = line
    return "\n".join(lines)


def _mark_small_print(state: StateCore) -> None:
    for before, token in zip(state.tokens, state.tokens[1:], strict=False):
        if before.type == "paragraph_open" and token.content.startswith(SMALL_PRINT):
            token.content = token.content.removeprefix(SMALL_PRINT)
            before.attrJoin("class", "quiet")


def _adapt(state: StateCore) -> None:
    """Give headings the page's level, underline, hide spoilers, and make links of addresses."""
    for token in state.tokens:
        if token.type.startswith("heading"):
            token.tag = HEADING
        if token.children:
            for child in token.children:
                if child.type.startswith("strong") and child.markup == "__":
                    child.tag = "u"
            token.children = _with_marks(token.children)
            for child, shown in zip(token.children, token.children[1:], strict=False):
                if child.type == "link_open":
                    address = str(child.attrs["href"])
                    child.attrs = _link_to(address, state.env["paths"])
                    if shown.content == address:
                        shown.content = _name_of(address, state.env["mentions"])


def _link_to(address: str, paths: Mapping[int, str]) -> dict[str, str | int | float]:
    message = _MESSAGE.fullmatch(address)
    if message and int(message[1]) in paths:
        return {"href": f"{paths[int(message[1])]}#m{message[2]}"}
    return {"href": address, "rel": "noreferrer", "target": "_blank"}


def _name_of(address: str, mentions: Mapping[str, str]) -> str:
    """Return the words shown for an address: for a message's address its channel, as on Discord."""
    message = _MESSAGE.fullmatch(address)
    return mentions.get(f"<#{message[1]}>", address) if message else address


def _with_marks(children: list[Token]) -> list[Token]:
    marked: list[Token] = []
    left = sum(child.content.count("||") for child in children if child.type == "text") // 2 * 2
    in_link = False
    for child in children:
        in_link = child.type == "link_open" or (in_link and child.type != "link_close")
        for part in _MARK.split(child.content) if child.type == "text" else [None]:
            if part is None:
                marked.append(child)
            elif part == "||" and left:
                marked.append(Token("spoiler", "", 1 if left % 2 == 0 else -1))
                left -= 1
            elif part.startswith(("http://", "https://")) and not in_link:
                opens = Token("link_open", "a", 1, attrs={"href": part})
                marked += [opens, _text(part), Token("link_close", "a", -1)]
            elif part:
                marked.append(_text(part))
    return marked


def _text(content: str) -> Token:
    return Token("text", "", 0, content=content)


def _read_mention(state: StateInline, silent: bool) -> bool:
    found = _MENTION.match(state.src, state.pos) or _TIME.match(state.src, state.pos)
    if found is None:
        return False
    if not silent:
        state.push("mention", "", 0).content = found[0]
    state.pos = found.end()
    return True


def _show_mention(_renderer: Any, tokens: list[Token], index: int, _options: Any, env: Mapping[str, Any]) -> str:
    written = tokens[index].content
    if moment := _TIME.fullmatch(written):
        return str(show_moment(datetime.fromtimestamp(int(moment[1]), UTC)))
    name = env["mentions"].get(written.replace("@!", "@"))
    if name and written.startswith("<#") and (path := env["paths"].get(int(written[2:-1]))):
        return f'<a class="mention" href="{escape(path)}">{escape(name)}</a>'
    return f'<span class="mention">{escape(name or "@unknown")}</span>'


def _show_spoiler(_renderer: Any, tokens: list[Token], index: int, _options: Any, _env: Any) -> str:
    opens = tokens[index].nesting == 1
    return '<span class="spoiler" tabindex="0">' if opens else "</span>"


def _make() -> MarkdownIt:
    markdown = MarkdownIt("zero", {"html": False, "breaks": True}).enable([*BLOCKS, *INLINE])
    markdown.inline.ruler.before("autolink", "mention", _read_mention)
    markdown.core.ruler.before("inline", "small_print", _mark_small_print)
    markdown.core.ruler.push("discord", _adapt)
    markdown.add_render_rule("mention", _show_mention)
    markdown.add_render_rule("spoiler", _show_spoiler)
    return markdown


_markdown = _make()

"""Removes control tokens from untrusted text of members, documents or files."""

from __future__ import annotations

import re

# Control tokens of ChatML, Llama, Gemma, Mistral, DeepSeek and SmolLM2; other markup, such as <b>, stays.
_MARKER = re.compile(
    r"<(?=[|｜])|<(?=</?SYS>>)|<(?=/?(?:s|bos|eos|pad|unk|mask|think|reponame|filename|[a-z]+(?:_[a-z]+)+)>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\])",
    re.IGNORECASE,
)


def sanitize(text: str) -> str:
    """Return `text` with a space in each control token, so that tokenizers do not recognize it; idempotent.

    NUL characters are removed, because PostgreSQL cannot store them.
    """
    return _MARKER.sub(lambda marker: marker[0] + " ", text.replace("\0", ""))

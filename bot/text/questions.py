"""Tells whether a message asks something, in English or German."""

from __future__ import annotations

import re

_ADDRESS = re.compile(r"https?://\S+")
_QUESTION_MARKS, _FULL_STOPS = frozenset("?？؟"), frozenset(".!…")
_GREETING = r"(?:(?:hi|hey|hello|hallo|moin|servus|ok|okay|so|and|und|but|aber|also|please|bitte|sorry)\b[\s,!.]*){0,3}"
_NEGATED = r"(?:n['’]?t)?"
_ENGLISH = (
    # How do I …, what time is …, who can …
    r"(?:who|whom|whose|what|which|when|where|why|how)(?:\s+\w+)?\s+"
    rf"(?:is|are|was|were|do|does|did|can|could|will|would|should|has|have|had|am|may|might|must){_NEGATED}\b"
    # What's …, where're …
    r"|(?:who|what|when|where|why|how)['’](?:s|re|d|ll|ve)\b"
    # Can you …, isn't there …, does anyone …
    rf"|(?:is|are|was|were|do|does|did|ca|can|could|wo|will|would|should|has|have|had|am|may){_NEGATED}\s+"
    r"(?:i|you|he|she|we|they|there|any\w*|some(?:one|body))\b"
    rf"|(?:is|are|was|were|does|did|can|could|will|would|should|has){_NEGATED}\s+"
    r"(?:it|this|that|these|those|the|an?|my|your|our|their|his|her)\b"
)
_GERMAN = (
    # Wie geht …, wie viel kostet …, wer kann …
    r"(?:wer|wen|wem|wessen|was|wann|wo|woher|wohin|warum|wieso|weshalb|wie|welche[rsnm]?|wo(?:mit|für|durch|rüber"
    r"|ran|rauf|zu|von))(?:\s+\w+)?\s+"
    r"(?:ist|sind|war|waren|bin|bist|seid|hat|habe|haben|hast|habt|kann|kannst|können|könnt|könnte|muss|musst|müssen"
    r"|soll|sollte|sollen|darf|dürfen|will|willst|wollen|wird|werden|wirst|würde|macht|machst|mache|machen|geht|gibt"
    r"|heißt|kommt|kostet|funktioniert|finde|findet|weiß|tut|steht|liegt|bedeutet|läuft|passiert)\b"
    # Kann ich …, gibt es …, weiß jemand …
    r"|(?:ist|sind|war|waren|hat|habe|haben|hast|habt|kann|kannst|können|könnt|könnte|könntest|darf|dürfen|soll|sollen"
    r"|sollte|muss|müssen|will|willst|wollt|wird|werden|wirst|würde|würdest|gibt|weiß|weißt|wisst|kennt|kennst|geht"
    r"|bist|seid|magst|möchtest)\s+(?:ich|du|er|sie|es|wir|ihr|man|jemand|irgend\w*|eine?[rn]?|hier|das|der|die|dies\w*)\b"
    r"|(?:gibt|geht)['’]?s\s"
)
_CLAUSE = re.compile(r"[,;.!?]+\s")
_INTERROGATIVE = re.compile(
    rf"\W*{_GREETING}(?:(?:until|till|since|by|from|to|at|for|in|on|with|about|bis|ab|seit|um|mit|für)\s+)?"
    r"(?:what(?! an?\b)|which|when|wen|who|whom|whose|where|how|why|wann|wer|wem|wo|wie|welche\w*)s?\b"
    rf"|\W*{_GREETING}was\s(?!(?:a|an|the|so|it|this|that|about|not|like|my|really|very|just)\b)",
    re.IGNORECASE,
)
_BEGINNING = re.compile(rf"\W*{_GREETING}(?:{_ENGLISH}|{_GERMAN})", re.IGNORECASE)


def is_question(text: str) -> bool:
    """Return whether a text ends with a question mark, or begins as questions do and ends without a full stop."""
    said = _ADDRESS.sub("", text)
    words = len(said)
    while words and not said[words - 1].isalnum():
        words -= 1
    end = set(said[words:])
    if end & _QUESTION_MARKS:
        return words > 0
    return bool(_BEGINNING.match(said)) and not end & _FULL_STOPS


def asks_in_part(text: str) -> bool:
    """Return whether a text is a question, or has a clause that begins like one: "my card is gone, who do I tell"."""
    if is_question(text):
        return True
    clauses = _CLAUSE.split(text)
    return "!" not in text and any(_INTERROGATIVE.match(one) or _BEGINNING.match(one) for one in clauses)

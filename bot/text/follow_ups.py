"""Reads from what a member writes after an answer whether they thank for it or go on, in English or German.

It rather misses thanks than takes a complaint for one: whatever objects, doubts, negates or asks for something else
says nothing.
"""

from __future__ import annotations

import re

from storage.database.enums import WeakVote

LONGEST = 1_000
"""Characters that are read; whoever writes more goes on with something of their own."""
FEWEST_WORDS = 3
"""With fewer words, nobody goes on: "ok", "hm", "tell me"."""
SAME_QUESTION = 0.6
"""Share of common words from which a message asks the same again."""

_QUOTED = re.compile(r"```.*?(?:```|\Z)|`[^`]*`|^>[^\n]*|\"[^\"]*\"|“[^”]*”|„[^“]*“|«[^»]*»|https?://\S+", re.S | re.M)
_CLAUSE_END = re.compile(r"[.!?…;:,\n()–—]+|\s-\s")
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")

_FILLER = (
    r"(?:(?:oh|ah|aha|ok(?:ay|ey)?|alright|all right|well|wow|yes|yeah|yep|great|good|nice|cool|perfect|awesome|amazing"
    r"|brilliant|lovely|super|excellent|got it|very good|many|a thousand|and|so|hey"
    r"|ja|jo|jup|gut|sehr gut|alles klar|klar|toll|klasse|prima|perfekt|spitze|geil|genau|und|na dann)\b[ ,!]*){0,3}"
)
_THANKS = re.compile(
    rf"\W*{_FILLER}"
    r"(?:thanks\b(?! (?:to|in advance)\b)"
    r"|thank (?:you|u|ya)\b(?! (?:in advance|note|card|letter|speech|e?mail|message)\b)"
    r"|thankyou|thx|tysm|tyvm|ty|cheers|much appreciated|(?:i|we) (?:really |do )?appreciate (?:it|that|your help)"
    r"|(?:ich )?danke\b(?! (?:im voraus|schon ?mal|vorab)\b)|dankesch[öo]n|(?:ich )?bedanke mich"
    r"|(?:vielen|besten|herzlichen|lieben|tausend) dank\b(?! (?:im voraus|schon ?mal|vorab)\b)|merci)\b"
)
_OBJECTS = re.compile(
    # No, not, isn't, nobody
    r"\b(?:no|nope|nah|not|never|nothing|none|nobody|neither|without|cannot|cant|dont|doesnt|didnt|isnt|wasnt|wont)\b"
    r"|n't\b"
    r"|\b(?:nein|nö|nee|ne|nicht|nichts|nix|nie|niemals|niemand|kein\w*|ohne)\b"
    # But, although, instead
    r"|\b(?:but|however|although|though|except|instead|rather|actually|unfortunately|sorry|yet|still)\b"
    r"|\b(?:aber|jedoch|allerdings|obwohl|trotzdem|sondern|stattdessen|lieber|eigentlich|leider|dennoch|schade|doch)\b"
    # Wrong, useless, boring
    r"|\b(?:wrong\w*|false|incorrect\w*|mistake\w*|error\w*|lie[sd]?|lying|untrue|nonsense|rubbish|bullshit|crap|bad|worse"
    r"|worst|awful|terrible|useless|stupid|dumb|boring|weird|confus\w*|unclear|fail\w*|broken|ridiculous|hallucinat\w*)\b"
    r"|\b(?:falsch\w*|unsinn\w*|quatsch|blödsinn|mist|scheiß\w*|scheiss\w*|fehler\w*|gelogen|lügst|lüge\w*|schlecht\w*"
    r"|schlimm\w*|nutzlos\w*|unbrauchbar\w*|dumm\w*|blöd\w*|doof\w*|langweilig\w*|unklar\w*|verwirr\w*|peinlich\w*"
    r"|daneben|bescheuert\w*|furchtbar\w*|kaputt\w*)\b"
    # Again, otherwise, too long
    r"|\b(?:again|redo|retry|rewrite|rephrase|reword|repeat|shorter|longer|simpler|clearer|better|too)\b"
    r"|\b(?:nochmal\w*|noch ?(?:ein)?mal|erneut|wiederhol\w*|umformulier\w*|kürzer\w*|länger\w*|einfacher|klarer|besser"
    r"|anders\w*|zu (?:lang|kurz|viel|wenig)\w*)\b"
    # Be quiet, what do you mean
    r"|\b(?:stop|quiet|shut up|shush|enough|forget it|never ?mind|seriously|really\?|huh|what\?|mean|wtf|ugh|meh)"
    r"|\b(?:stopp?|still jetzt|sei still|halt|klappe|ruhe|genug|egal|vergiss|ernsthaft|echt\?|hä|was\?|wie bitte|meinst"
    r"|meinen|gemeint)\b"
    # Eye rolling and the like; what is said with irony
    r"|[👎🙄😒😑😐🤨🤦🤬😡😠💩🥱😤😕🙃]|/s\b|\?\?|:/|:\(|\blol\b|\bsure thing\b"
)


def read_follow_up(text: str, question: str = "") -> WeakVote | None:
    """Return what a message after an answer to `question` says about the answer; None if that is nothing clear."""
    said = _QUOTED.sub(" ", text[:LONGEST]).casefold().replace("’", "'")
    words = _WORD.findall(said)
    if not words or _OBJECTS.search(said):
        return None
    if any(_THANKS.match(clause) for clause in _CLAUSE_END.split(said)):
        return WeakVote.THANKED
    return WeakVote.WENT_ON if len(words) >= FEWEST_WORDS and not _asks_the_same(words, question) else None


def _asks_the_same(words: list[str], question: str) -> bool:
    asked = set(_WORD.findall(question[:LONGEST].casefold().replace("’", "'")))
    return len(asked.intersection(words)) >= SAME_QUESTION * min(len(asked), len(set(words))) > 0

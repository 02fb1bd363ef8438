"""The kind of answer that a question asks for, and whether a line holds one, in English and German."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class AnswerType(StrEnum):
    PRICE = "price"
    TIME = "time"
    NUMBER = "number"
    PERSON = "person"
    PLACE = "place"
    CONTACT = "contact"
    RULE = "rule"


def _pattern(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives), re.IGNORECASE)


_DAYS = (
    r"(?:mon|tues|wednes|thurs|fri|satur|sun)days?|(?:mon|diens|donners|frei|sams|sonn)tag\w*|mittwoch\w*|sonnabend\w*"
)
_MONTHS = (
    r"january|february|march|april|may \d|\d(?:st|nd|rd|th)?(?: of)? may|june|july|august|september|october|november"
    r"|december|januar|februar|märz|mai|juni|juli|oktober|dezember"
)
_HOURS = (
    r"(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|noon|midnight|eins|zwei|drei|vier|fünf|sechs|sieben"
    r"|acht|neun|zehn|elf|zwölf)"
)
_SPANS = r"(?:minute|hour|day|week|month|year|season|stunde|tag|woche|monat|jahr|minut)(?:e?s|en?|n)?"

_DATES = re.compile(rf"\b(?:{_DAYS}|{_MONTHS}|may)\b", re.IGNORECASE)
_NO_COUNT = re.compile(r"\d{1,2}:\d\d|\b\d[dD]\b|\b\d+(?:st|nd|rd|th)\b")
"""Times of day, 3D, the 2nd."""
_PAST_ASKED = _pattern(
    r"\b(?:won|did|was|were|happened|founded|used to|last (?:week|month|year|time|season|night))\b",
    r"\b(?:gewann|gewonnen|wurde|passiert|gegründet|letzte[nrs]?)\b",
)
_PAST_TOLD = _pattern(r"\b(?:won|did|was|were|has been|since|founded|last|\w{3,}ed|(?:19|20)\d\d|seit|war|wurde)\b")

_WORLD = _pattern(
    r"\bwho (?:invented|discovered|wrote|painted|composed|directed)\b|\bhow (?:do|does) an? [\w -]+ work\b"
    r"|\bwhat (?:is|are) an? ",
    r"\b(?:capital|meaning|history|definition|population) of\b|\bdifference between\b|\bin the world\b"
    r"|\bwhat does [\"“'\w]+ mean\b",
    r"^\W*(?:(?:please|can you|could you|hey|bitte|kannst du)\W+)*(?:explain|define|write|translate|summari[sz]e"
    r"|give me|tell me|name|list|convert|recommend|imagine|erkläre?|schreibe?|übersetze?|nenne?|erzähle?)\b",
)
_FOCUS = _pattern(
    r"\bwhat(?:['’]?s| is| are| was| were) (?:the |your |our |a |an )?(?P<noun>(?:[\w'’-]+ )*?[\w-]+)(?= (?:of|for"
    r"|on|in|at|to|from|when|if|here)\b|\W*$)",
    r"\bwhat (?:does|do|did|can|will) (?:[\w'’-]+ )*(?P<verb>[\w-]+)\W*$",
    r"\bwas (?:ist|sind) (?:der |die |das )?(?P<nomen>(?:[\w-]+ )*?[\w-]+)(?= (?:von|für|des|der|im|am|bei)\b|\W*$)",
)

# The first that fits counts: "how much time" is no price, "how old" is a number.
ASKED: Mapping[AnswerType, re.Pattern[str]] = MappingProxyType(
    {
        AnswerType.TIME: _pattern(
            r"\bwhen\b|\bwen is\b|\bwhat(?:['’]?s| is| are)?(?: the)? (?:time|date|day|hours)|\b(?:which"
            r"|what) (?:day|date|month|year|week|time)s?\b",
            r"\buntil what|\bhow (?:late|early|soon|often)\b|\bdeadline|\bopening (?:hours|times)|\bopen (?:on"
            r"|today|tomorrow|at)\b",
            r"\bwann\b|\bum wie\s?viel uhr|\bwie (?:spät|oft)\b|\böffnungszeit|\bwelche[rmn]? (?:tag|datum|monat)"
            r"|\bfrist\b",
        ),
        AnswerType.PRICE: _pattern(
            r"\bhow (?:much|expensive|pricey)\b(?! (?:time|longer))|\bprices?\b|\bcosts?\b|\bfees?\b|\bto pay\b"
            r"|\bpay for\b|\bcheap|\bexpensive\b|\bcharged?\b",
            r"\bworth\b|\bfor free\b|\bfree of charge\b|\bwas kostet|\bkosten?\b|\bpreise?\b|\bteuer|\bgebühr"
            r"|\bbeitrag|\bwie\s?viel (?:kostet|zahl|muss ich)",
        ),
        AnswerType.NUMBER: _pattern(
            r"\bhow (?:many|long|old|big|large|far|tall|high|deep|fast)\b|\bwhat (?:number|size|age|percentage"
            r"|version)\b|\bage limit\b|\bversion\b|\bport\b",
            r"\bwie\s?(?:viele|lange?|alt|groß|hoch|weit|schnell)\b|\bversion\b",
        ),
        AnswerType.CONTACT: _pattern(
            r"\b(?:e-?mail|phone|telephone|contact|website|url|link|ip)\b|\b(?:telefon|handy)?nummer\b"
            r"|\bserver address\b",
            r"\b(?:write|complain|report|send) to\b|\bkontakt\b|\badresse des servers\b",
        ),
        AnswerType.PERSON: _pattern(
            r"\bwho(?:m|se|'s|’s|s)?\b|\bwhich (?:mod|moderator|admin|tutor|teacher|person|member|coach|trainer)\w*\b",
            r"\b(?:someone|somebody|anyone|anybody) who\b|\bname of the\b|\bwer\b|\bwem\b|\bwen\b|\bwessen\b",
        ),
        AnswerType.PLACE: _pattern(
            r"\bwhere(?:'s|’s|s)?\b|\badd?ress?\b|\blocat(?:ed|ion)\b|\b(?:which|what) (?:channel|room|place|street"
            r"|building|floor)\b|\bmeeting point\b",
            r"\bwo\b|\bwohin\b|\bwoher\b|\badresse\b|\bin welche[rmn]\b",
        ),
        AnswerType.RULE: _pattern(
            r"\b(?:am|is|are)\b[^?]{0,30}\b(?:allowed|permitted|forbidden|banned|ok|okay|fine|mandatory|required)\b"
            r"|\b(?:can|may|could|must|should) (?:i|we|you|one|people)\b",
            r"\bdo (?:i|we|you) (?:have|need) to\b|\brules?\b|\bwhat happens\b|\bwhat if\b|\bwhat do (?:i|you|u"
            r"|we) get\b|\bpunish|\bpenalt",
            r"\b(?:darf|dürfen|kann|können|muss|müssen|soll) (?:ich|man|wir)\b|\berlaubt|\bverboten|\bregeln?\b"
            r"|\bwas passiert\b",
        ),
    }
)

_PRICES = (
    r"[€$£¥]|\d ?(?:eur|usd|gbp|chf)\b|(?<![^\W_])(?:price|cost|fee|preis|kosten|betrag|eur)(?![^\W_])"
    r"|\b(?:euros?|dollars?|pounds?|crowns?|cents?|coins?|shards?|gold|credits?|points?|gems?|tokens?)\b"
    r"|\bprice\b|\bcosts?\b|\bfees?\b|\bfree\b|\bcharge|\bpays?\b|\bpaid\b|\bkosten|\bpreis|\bgebühr|\bbeitrag"
    r"|\bgratis\b"
)
HELD: Mapping[AnswerType, re.Pattern[str]] = MappingProxyType(
    {
        AnswerType.PRICE: _pattern(_PRICES),
        AnswerType.TIME: _pattern(
            r"(?<![^\W_])(?:date|day|time|month|datum|uhrzeit|monat|fällig): "
            r"|\b(?:mon|tue|wed|thu|fri|sat|sun|mo|di|mi|fr|sa)\b"
            r"|\b\d{1,2}\.? (?:jan|feb|mar|apr|jun|jul|aug|sep|oct|nov|dec|okt|dez)\b",
            rf"\b(?:at|past|to|until|till|from|um|ab|bis) {_HOURS}\b"
            rf"|\d{{1,2}}[:.]\d\d\b|\b\d{{1,2}} ?[ap]\.?m\b|\b\d{{1,2}} ?(?:uhr|o['’]?clock|utc)|\b(?:{_DAYS}"
            rf"|{_MONTHS})\b|\b\d{{1,2}}(?:st|nd|rd|th)\b",
            rf"\b(?:daily|weekly|monthly|yearly|noon|midnight|weekends?|weekdays?|evenings?|mornings?|always|never"
            rf"|täglich|wöchentlich|monatlich|abends?|morgens|mittags?)\b|\b\d+ {_SPANS}\b",
            rf"\b(?:every|each|once an?|twice an?|per|jede[nrsm]?|within|after|until|for an?) (?:\w+ )?{_SPANS}\b"
            rf"|\b(?:19|20)\d\d\b|\bin (?:january|may|summer|winter)",
        ),
        AnswerType.NUMBER: _pattern(
            r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty"
            r"|hundred|thousand|dozen|half|once|twice)\b",
            r"\b(?:zwei|drei|vier|fünf|sechs|sieben|acht|neun|zehn|elf|zwölf|hundert|tausend)\b",
        ),
        AnswerType.CONTACT: _pattern(
            r"\S@\S|https?://|\bwww\.|\b[\w-]+\.[\w-]+\.\w{2,}\b|\+?\d[\d /-]{6,}|#\w|\bwrite to\b|\bticket"
            r"|\bring\b|\bcall\b|\bextension\b|\bmail\b",
        ),
        AnswerType.PERSON: re.compile(
            r"(?<![.!?:] )(?<!^)(?<![-*] )(?<![(\"“'])\b[A-ZÄÖÜ][a-zäöüß]+\b"
            r"|^(?:[-*•] )?[\w.]+(?: [A-ZÄÖÜ]\w+)? ?[:–—-] |\b(?:owner|admin|moderator|team|staff|coach|teacher"
            r"|volunteer)",
        ),
        AnswerType.PLACE: _pattern(
            r"\b(?:we are|located|find us|meet)\b.{0,40}\b(?:in|at|on|behind|near)\b|\b(?:behind|next to|opposite"
            r"|bei|hinter|neben)\b|#\w",
            r"\b(?:street|lane|road|square|room|hall|floor|building|house|garage|park|channel|straße|raum|zimmer"
            r"|stock)\b|\b[A-Z]\d{2,3}\b",
        ),
        AnswerType.RULE: _pattern(
            r"\b(?:no|not|never|nobody|only|must|may|might|allowed|allow\w*|forbidden|banned?|can|cannot|can['’]t"
            r"|don['’]t|need|needs|have to|required|mandatory|fine|free|ok|okay|welcome|muted?|warnings?|pay|except"
            r"|at least|at most|up to|please|without|unless|if|whoever)\b",
            r"\b(?:nicht|kein\w*|nur|darf|dürfen|muss|müssen|erlaubt|verboten|kann|können|mindestens|höchstens)\b",
        ),
    }
)


def asked_type(question: str) -> AnswerType | None:
    """Return the kind of answer that a question asks for; None if its words do not tell."""
    return next((kind for kind, pattern in ASKED.items() if pattern.search(question)), None)


def holds(line: str, kind: AnswerType) -> bool:
    """Return whether a line holds that kind of answer."""
    if kind is AnswerType.PERSON:
        line = _DATES.sub("", line)  # names of days are written like those of people
    if kind is AnswerType.NUMBER:
        line = _NO_COUNT.sub("", line)
    return HELD[kind].search(line) is not None


def focus_of(question: str) -> str | None:
    """Return the word for the thing that is asked for: "What is the prize of the contest?" asks for the prize."""
    found = _FOCUS.search(question)
    phrase = next(filter(None, found.groups()), "") if found else ""
    return phrase.split()[-1].lower() if phrase else None


def asks_the_world(question: str) -> bool:
    """Return whether a question has the form of those about the world, or asks for a text."""
    return _WORLD.search(question) is not None


def asks_for_past(question: str, line: str) -> bool:
    """Return whether a question is about the past, and the line is not."""
    return _PAST_ASKED.search(question) is not None and _PAST_TOLD.search(line) is None

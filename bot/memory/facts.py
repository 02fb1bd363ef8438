"""Finds lasting facts that a message states about its author, in English and German.

Precision comes before recall: a bot that asks about everything is worse than one that forgets. So only known forms of
statements count, and only at the beginning of a sentence that cannot be a quote, a question or a game.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bot.memory import vocabulary as words
from bot.text.questions import is_question
from storage.memory import MAX_NOTE_CHARS

MAX_CHARS = 600
"""Maximum length of a message with facts: longer ones are pasted, or stories."""
MAX_WORDS = 14

_FILLERS = words.one_of(
    "hi hey hello hiya yo hallo moin servus by_the_way btw fyi well actually also and und but aber so ok okay oh ah "
    "yes yeah yep no nope hm hmm anyway ja nein naja übrigens tja honestly lol haha"
)
_OPENING = re.compile(rf"(?:{_FILLERS}\b[\s,:!…-]*)*", re.IGNORECASE)
_REQUEST = re.compile(
    r"(?:(?:please|can you|could you|will you) )*(?:remember|do(?:n['’]?t| not) forget|keep in mind|note)(?: please)?"
    r"(?:(?:,? that|:) (?P<that>(?:I|I['’]?m|I['’]ve|my)\b.*)| (?P<said>(?:I|I['’]m|I['’]ve) .*))"
    r"|(?:bitte )?(?:merk dir|vergiss nicht)(?: bitte)?(?:,|:) (?P<dass>(?:dass )?(?:ich|meine?)\b.*)",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?:\b(?:Dr|Mr|Mrs|Ms)\.|[^.!?…\n;])+[.!?…;]*")
_NEXT_CLAUSE = words.one_of(
    "so but because cause cuz since though although which who where what how lol haha btw also aber denn weil obwohl"
)
_NEXT_SUBJECT = words.one_of(
    "i i'm im my he she it they we one the this that then need want would can could do doing what how ich er sie es "
    "wir mein meine"
)
_CLAUSE_END = re.compile(
    rf",|;|:|\s[-–—]\s|\s\(|\s[:;]-?[()DP]|\s(?={_NEXT_CLAUSE}\b)"
    rf"|\s(?=(?:and|und)\s+(?:{_NEXT_SUBJECT}|(?!sing|bring)\w{{3,}}ing)\b)",
    re.IGNORECASE,
)
_FILLER = re.compile(r"\s+(?:too|as well|also|sorry|though|yeah|haha\w*|lol|btw|by the way)$", re.IGNORECASE)
_GOES_ON = re.compile(
    r"\b(?:i|he|she|we|they|is|are|was|were|has|had|its|will|think|please|yeah|lol|or|and all|i['’]m|it['’]s)\b",
    re.IGNORECASE,
)
"""Words that begin another sentence, in chats often without a comma."""
_TAG = re.compile(
    r"\W*(?:right|ok|okay|eh|huh|yes|no|correct|oder|gell|ne|stimmt|nicht wahr|(?:do|am|are|is|have|did)n['’]?t \w+)"
    r"\W*$",
    re.IGNORECASE,
)
_END = " \t.,;:!?…"
NAMED = "name"
HOME = "home"
BIRTHDAY = "birthday"
ANYTHING = ""
"""Topic of facts of which a member may have any number, such as hobbies."""

_I, _AM, _HAVE = "I", "I(?:['’]?m| am)", "I(?:['’]ve got|ve got| have| have got)"
_DO = r"I(?: (?:really|absolutely|also|actually|mostly|usually|only|always|do))?"
_CAPITALS = r"(?-i:(?:(?:Dr|Mr|Mrs|Ms)\. )?[^\W\d_a-z][\w'’-]*(?: [^\W\d_a-z][\w'’-]*)?)(?!\w)"
_NAME = rf"(?!{words.NOT_A_NAME}\b)(?:{_CAPITALS}|[^\W\d_]{{2,20}}$)"
_PLACE = r"(?-i:[A-ZÀ-Þ])[\w'’-]+"
_NOUN = r"(?-i:[A-ZÄÖÜ])[\w-]{2,}"
_SOME = r"(?:an?|one|two|three|four|five|six|seven|eight|\d\d?|some|several|a couple of)"
_EIN = r"(?:eine?n?|zwei|drei|vier|fünf|sechs|\d\d?|mehrere|ein paar)"
_2, _3 = r"(?:[\w'’-]+ ){0,2}", r"(?:[\w'’-]+ ){0,3}"
_UNLIKELY = rf"(?!{words.NOT_LIKED}\b|.*\b{words.NOT_LIKED_LAST}$|.*\b{words.NOT_IN_LIKED}\b)"
_LIKED = rf"{_UNLIKELY}[\w'’-]{{3,}}(?: [\w'’-]+){{0,3}}$"
_GEMOCHT = rf"(?:kein\w* )?(?!{words.NOT_LIKED_GERMAN}\b){_NOUN}(?: [\w-]+){{0,3}}$"
_MONTH = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"

_FORMS = (
    (NAMED, rf"my name(?:['’]s| is) {_NAME}"),
    (NAMED, rf"(?:please )?call me {_NAME}|you (?:can|may) call me {_NAME}|{_I} go by {_NAME}"),
    (NAMED, rf"(?:ich heiße|mein name ist|nenn mich(?: bitte)?) {_NAME}|du kannst mich \w+ nennen"),
    (HOME, rf"{_I} live (?:in|near|around|outside) (?:{_PLACE}|an? {_3}{words.HOMES}\b|the {words.LANDS}\b)"),
    (HOME, rf"{_I} live on an? {_2}{words.HOMES}\b|{_I} moved to (?:{_PLACE}|the {words.LANDS}\b)"),
    (HOME, rf"ich (?:wohne|lebe) (?:in|bei|auf) (?:der Nähe von )?{_PLACE}|ich bin nach {_PLACE} gezogen"),
    (HOME, rf"ich (?:wohne|lebe) (?:in|auf) eine[mr] {_3}(?:Dorf|Stadt|Haus|Wohnung|Bauernhof|Hausboot|Insel)\b"),
    ("origin", rf"{_AM} (?:originally )?from (?:{_PLACE}|the {words.LANDS}\b)|{_I} come from {_PLACE}"),
    ("origin", rf"{_I} grew up (?:in|on) (?:{_PLACE}|an? {_2}{words.HOMES}\b)|{_I} was born in {_PLACE}"),
    ("origin", rf"ich komme aus {_PLACE}|ich bin in {_PLACE} (?:geboren|aufgewachsen)"),
    (BIRTHDAY, rf"my birthday is (?:on |in )?(?:the )?(?:\d\d?\w* )?(?:of )?{_MONTH}\w*"),
    (BIRTHDAY, r"(?:ich habe am \d\d?\. ?\w+ geburtstag|mein geburtstag ist am \d\d?\. ?\w+)"),
    ("work", rf"{_AM} an? {_3}{words.JOBS}\b|{_I} work as an? \w+|{_AM} retired\b"),
    ("work", rf"{_I} work (?:nights|shifts|night shifts|from home|part-time|full-time|remotely)\b"),
    ("work", rf"{_I} work (?:in|at|for) (?:an? |the )?{_2}{words.WORKPLACES}\b"),
    ("work", rf"{_I} drive an? {_2}(?:truck|lorry|bus|taxi|tram|train|van|tractor)\b"),
    ("work", rf"ich bin (?:eine? )?(?:von Beruf )?{_2}{words.JOBS_GERMAN}(?:in)?\b|ich arbeite als \w+"),
    ("work", r"ich bin (?:in Rente|im Ruhestand)\b"),
    ("study", rf"(?:{_I} study|ich studiere) (?:{words.SUBJECTS}\b|(?:in|at) {_PLACE})"),
    ("diet", rf"{_AM} (?:an? )?(?:vegan|vegetarian|pescatarian)\b"),
    ("diet", r"ich bin (?:veganer|vegetarier|veganerin|vegetarierin|vegan)\b"),
    (ANYTHING, rf"{_DO} (?:keep|breed|raise) {_2}{words.ANIMALS}\b|{_HAVE} {_SOME} {_2}{words.OWNED}\b"),
    (ANYTHING, rf"my {words.RELATIONS}(?:(?: is|['’]s) (?:called|named)|['’]?s name is) {_NAME}"),
    (
        ANYTHING,
        rf"my fav(?:ou?rite)? {_2}{words.FAVOURITES} (?:is|are) (?!the .*\b(?:one|answer)\b|called\b|when\b)\w+",
    ),
    (ANYTHING, rf"{_AM} (?:an? )?{words.HAND}\b|{_AM} an? {_2}{words.KIND_OF_PERSON}\b"),
    (ANYTHING, rf"{_AM} an? (?:huge |big |great |die-hard )?fan of {_PLACE}"),
    (ANYTHING, rf"{_AM} learning (?:{words.LANGUAGES}|the {words.PLAYED})\b|{_DO} speak (?:\w+ )?{words.LANGUAGES}\b"),
    (ANYTHING, rf"{_I} teach (?:{words.SUBJECTS}|{words.LANGUAGES}|children|kids|yoga|primary school|swimming)\b"),
    (ANYTHING, rf"{_DO} play (?:the )?{words.PLAYED}(?!\w)|{_DO} collect (?!(?:my|your|the|data|all)\b){_2}[\w-]+s\b"),
    (ANYTHING, rf"{_DO} (?:grow|brew|make) (?:my own [\w-]+|(?!as\b){_2}[\w-]{{3,}}s on my \w+)\b"),
    (ANYTHING, rf"{_DO} grow (?:tomatoes|vegetables|herbs|roses|chillies|potatoes|flowers|orchids|cacti)\b"),
    (ANYTHING, rf"{_DO} (?:bake|write|brew|build|make|paint|draw|knit|sew|compose) {_2}{words.MADE}\b"),
    (ANYTHING, rf"{_DO} (?:paint|draw|knit|crochet|sew|sculpt)(?: in my (?:free|spare) time)?(?= in my |$)"),
    (ANYTHING, rf"{_DO} run (?:half )?marathons\b|{_I} (?:run|own) an? {_2}{words.BUSINESSES}\b"),
    (ANYTHING, rf"{_DO} ride (?:horses|a motorbike|a motorcycle)\b|{_I} wear glasses\b"),
    (ANYTHING, rf"{_I} sing in an? {_2}(?:choir|band)\b|{_DO} use {words.SYSTEMS}(?!\w)"),
    (ANYTHING, rf"{_DO} go {words.SPORTS} (?:every|each|on|once|twice)\b"),
    (ANYTHING, rf"{_I} (?:don['’]?t|do not|never)(?: really)? (?:eat|drink) {words.FOOD}\b"),
    (ANYTHING, rf"{_DO} (?:love|enjoy|prefer|adore|hate|can['’]?t stand) {_LIKED}|{_I} really like {_LIKED}"),
    (ANYTHING, rf"ich (?:halte|züchte) {_2}{words.ANIMALS}\b|ich habe? {_EIN} {_2}{words.OWNED_GERMAN}\b"),
    (ANYTHING, rf"ich hab {_EIN} {_2}{words.OWNED_GERMAN}\b|meine? {words.RELATIONS_GERMAN} heißt {_NAME}"),
    (ANYTHING, r"meine? lieblings\w+ (?:ist|sind) (?!die \w+ antwort)\w+|ich trage eine Brille\b"),
    (ANYTHING, rf"ich (?:lerne (?:gerade )?|spreche ){words.LANGUAGES}\b|ich spiele (?:gerne? )?{words.PLAYED}\b"),
    (ANYTHING, r"ich sammle (?!mich|meine|daten|ideen)[\w-]+|ich (?:male|stricke|nähe|zeichne)(?: gerne?)?$"),
    (ANYTHING, r"ich backe (?:gerne? |jeden \w+ )?(?:Brot|Kuchen|Plätzchen)\b"),
    (ANYTHING, rf"ich (?:esse|trinke) (?:keine?n? |nie ){words.FOOD_GERMAN}\b|ich (?:mag|liebe|hasse) {_GEMOCHT}"),
)
FORMS = tuple((topic, re.compile(form, re.IGNORECASE)) for topic, form in _FORMS)
"""(topic, beginning of such a sentence); the first match counts."""


@dataclass(frozen=True)
class Fact:
    """A fact that a member stated about themselves, in their words."""

    text: str
    topic: str = ""
    """The fact's topic if a member has only one of it, such as "home"."""
    is_requested: bool = False
    """The member asked for it to be remembered."""


def find_fact(message: str) -> Fact | None:
    """Return the first lasting fact that a message states about its author, or None.

    A fact about health, religion, politics, sexuality, origin, crime or money is returned only if its author asked for
    it to be remembered; an address, a number or a password never is.
    """
    if len(message) > MAX_CHARS or words.NOT_MEANT.search(message):
        return None
    found = (_requested(sentence) or _stated(sentence) for sentence in _sentences(message))
    return next((fact for fact in found if fact is not None), None)


def topic_of(text: str) -> str:
    """Return a statement's topic if a member has only one of it, else an empty text."""
    return next((topic for topic, form in FORMS if form.match(text)), "")


def _sentences(message: str) -> Iterator[str]:
    for found in _SENTENCE.finditer(message):
        sentence = found[0].strip()
        yield sentence[_OPENING.match(sentence).end() :]  # pyrefly: ignore[missing-attribute] (it matches nothing, too)


def _requested(sentence: str) -> Fact | None:
    asked = _REQUEST.match(sentence)
    if asked is None:
        return None
    text = (asked["that"] or asked["said"] or asked["dass"]).strip(_END)
    is_clear = len(text) <= MAX_NOTE_CHARS and not words.ABOUT_OTHERS.search(text) and not words.SECRET.search(text)
    return Fact(text, topic_of(text), is_requested=True) if is_clear else None


def _stated(sentence: str) -> Fact | None:
    end = _CLAUSE_END.search(sentence)
    clause, tail = (sentence[: end.start()], sentence[end.start() :].strip(" ,;:-–—")) if end else (sentence, "")
    if sentence.endswith("?") and (not is_question(tail) or _TAG.match(tail)):
        return None
    clause = clause.strip(_END)
    for topic, form in FORMS:
        if stated := form.match(clause):
            return _whole(clause, stated[0], topic)
    return None


def _whole(clause: str, stated: str, topic: str) -> Fact | None:
    """Return the fact of a clause that begins with a statement; a name ends with the statement."""
    is_name = topic == NAMED or re.search(r"\b(?:called|named|name is|heißt)\b", stated, re.IGNORECASE)
    text = stated if is_name else _FILLER.sub("", clause)
    is_short = len(text) <= MAX_NOTE_CHARS and len(text.split()) <= MAX_WORDS
    is_about_others = topic != NAMED and words.ABOUT_OTHERS.search(text)
    around = clause.removeprefix(stated) if topic == BIRTHDAY else clause  # "may" is a month too
    refused = words.FLEETING.search(around) or words.SECRET.search(clause) or words.SENSITIVE.search(clause)
    goes_on = _GOES_ON.search(text[len(stated) :])
    return Fact(text, topic) if is_short and not (is_about_others or refused or goes_on) else None

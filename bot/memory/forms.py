"""The forms of statements about oneself, in English and German, by topic."""

from __future__ import annotations

import re

from bot.memory import vocabulary as words

NAMED = "name"
HOME = "home"
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
    ("birthday", rf"my birthday is (?:on |in )?(?:the )?(?:\d\d?\w* )?(?:of )?{_MONTH}\w*"),
    ("birthday", r"(?:ich habe am \d\d?\. ?\w+ geburtstag|mein geburtstag ist am \d\d?\. ?\w+)"),
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

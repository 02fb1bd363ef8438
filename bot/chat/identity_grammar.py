"""People's questions to a bot about its nature and its work, as regular expressions for one clause each.

A clause has neither capitals nor punctuation, and its words are written out.
"""

from __future__ import annotations

import re
from enum import StrEnum


class QuestionLanguage(StrEnum):
    """The language of a question, by Discord's codes."""

    ENGLISH = "en-US"
    GERMAN = "de"


SENTENCES = re.compile(
    r"[.!?;\n…()–—]+|\b(?:but|aber)\b|\bor (?=(?:are|is|am|do|what are|who are) )|"
    r"\boder (?=(?:bist|ist|sind|sitzt|steckt|was bist|wer bist) )"
)
QUOTES_SOMEBODY = re.compile(
    r"[^:]*\b(?:asks?|asked|says?|said|told|writes?|wrote|translate|fragte?|sagte?|meinte?|übersetze?|schreibe?|schrieb)"
    r"\b[^:]*:"
)
EMBEDDED = re.compile(
    r"\b(?:if|when|whenever|how|why|where|what|who|unless|because|asks?|asked|says?|said|told|writes?|wrote|write|"
    r"translate|pretend|imagine|story|poem|film|movie|song|wenn|falls|weil|wie|warum|wo|was|wer|fragte?|sagte?|meinte?|"
    r"übersetze?|schreibe?|schrieb|geschichte|gedicht|he|she|they|er|sie)\b"
)
"""Words before a question that make it somebody else's, or part of another question."""
YOURE = re.compile(r"\byour (?=(?:an?|not|just|really|totally|human|fake|ai|automated)\b)")
SPELLINGS = {
    **dict.fromkeys(("u", "ya", "yu", "yuo", "yoo", "yall"), "you"),
    **dict.fromkeys(("r", "arr", "aer", "ar", "rae"), "are"),
    **dict.fromkeys(("youre", "yer"), "you are"),
    **dict.fromkeys(("ru", "areyou", "areu"), "are you"),
    **dict.fromkeys(("arent", "aint"), "are not"),
    "isnt": "is not",
    "im": "i am",
    "id": "i would",
    "its": "it is",
    "thats": "that is",
    **dict.fromkeys(("whats", "wats", "wat"), "what is"),
    "whos": "who is",
    **dict.fromkeys(("tho", "thou"), "though"),
    **dict.fromkeys(("rly", "realy", "rlly"), "really"),
    **dict.fromkeys(("biste", "bisd"), "bist du"),
    **dict.fromkeys(("bistn", "bisten"), "bist du n"),
    "gotta": "got to",
    "cant": "can not",
    **dict.fromkeys(("botty", "bott", "bto", "bpt"), "bot"),
    "gpt4": "gpt 4",
    "smth": "something",
    **dict.fromkeys(("hooman", "humen", "hoomin"), "human"),
    "ur": "your",
    "fürn": "für n",
}
TYPED_WRONGLY = (
    "human",
    "person",
    "robot",
    "machine",
    "computer",
    "program",
    "chatgpt",
    "sentient",
    "conscious",
    "automated",
    "language",
    "mensch",
    "menschen",
    "roboter",
    "maschine",
    "programm",
    "lebendig",
    "sprachmodell",
    "echter",
)
"""Words that are recognised with one letter wrong, missing, doubled or swapped."""

FILLERS = {
    QuestionLanguage.ENGLISH: (
        "or something( else| like that)?|or what|or not|by any chance|(a )?(quick|serious|honest|random|"
        "weird) (question|q)|out of curiosity|just curious|for real|to be honest|i mean|i guess|right now|this time|"
        "the truth|hey|hi|hiya|hello|yo|so|wait|ok|okay|um|umm|uh|hm|hmm|hmmm|lol|lmao|haha|hahaha|omg|wow|well|but|"
        "and|actually|actual|really|honestly|seriously|just|like|maybe|please|pls|plz|though|bro|dude|mate|buddy|then|"
        "now|again|even|truly|literally|genuinely|also|btw|tbh|fr|ngl|anyway|still|exactly|here|secretly|probably|"
        "obviously|clearly|totally|def|deff|surely|completely|lowkey|highkey|definitely|only|oh|ah|basically|perhaps|"
        "today|ever|rn|atm|answer (?:me )?(?:honestly|truthfully)|be (?:honest|real)(?: with me)?|deadass|lowkey|"
        "straight up|legit|hold on|hold up|nah|listen|(?:answer )?yes or no|or nah"
    ),
    QuestionLanguage.GERMAN: (
        "ja oder nein|oder (?:et)?was anderes|oder was|oder so|oder nicht|oder wie|kurze frage|nicht wahr|"
        "ehrlich gesagt|mal ehrlich|im ernst|hey|hallo|hi|na|ey|sag|mal|ehrlich|eigentlich|jetzt|bitte|denn|überhaupt|"
        "wohl|ja|doch|halt|so|also|aber|und|etwa|vielleicht|gerade|grad|grade|hier|nun|digga|alter|bro|lol|haha|"
        "stimmts|gell|nur|bloß|bloss|wirklich|tatsächlich|genau|moment|warte|ok|okay|nämlich|sicher|bestimmt|"
        "offensichtlich|eindeutig|garantiert|eben|einfach|du da|(?:oder|ne)$"
    ),
}


def _any(*words: str) -> str:
    return f"(?:{'|'.join(words)})"


# English: what somebody may be, and the ways to ask for it.
_MAKER = "(?:chat ?gpt|gpt(?: ?\\d\\w*)*|claude|gemini|llama|copilot|openai|bard|siri|alexa|deepseek|qwen|mistral|grok)"
_IS_BOT = (
    "(?:(?:bot|robot|chatbot|chat bot|ai|machine|program)s?|a i|artificial intelligence|computer|computer program|"
    "software|script|algorithm|llm|(?:large )?language model|neural net(?:work)?|android|cyborg|npc|app|automated|"
    "(?:ai|computer|machine) generated|artificial|"
    f"(?:virtual |digital )?assistant|simulation|{_MAKER})"
)
_IS_PERSON = "(?:human|human being|human beings|humans|human person|person|living being|living thing)"
_IS = (
    f"(?:{_IS_BOT}|{_IS_PERSON}|real|man|woman|guy|girl|boy|male|female|alive|sentient|conscious|self aware|fake|"
    "legit|automated (?:reply|answer|response|message|account|system)|bot account|someone|somebody|anyone|anybody)"
)
_A = "(?:(?:a|an|the|some|any|another|no|not|of|kind|sort|type|your|my|one|those|these) )*"
_REAL = (
    "(?:(?:real|living|discord|chat|normal|true|genuine|computer|ai|human|automated|fake|regular|live|legit|"
    "humanoid|physical|clever|smart|simple|silly|dumb|mere|pure) )*"
)
_THING = f"{_A}{_REAL}{_IS}(?: real)?(?: of flesh and blood| in real life| irl)?"
_THINGS = f"{_THING}(?: (?:or|and|vs|versus|pretending to be|posing as|not) (?:are you |is it |is this )?{_THING})*"
_SORT = f"{_A}{_REAL}(?:{_IS_BOT}|{_IS_PERSON})"
_SORTS = f"{_SORT}(?: (?:or|and|vs|versus|not) (?:is this |is it )?{_SORT})*"
_BEING = (
    f"{_A}{_REAL}(?:(?:bot|robot|chatbot|chat bot|ai|llm|language model|artificial intelligence|{_MAKER})s?|"
    f"{_IS_PERSON})"
)
_BEINGS = f"{_BEING}(?: (?:or|and|vs|versus|not) (?:is this |is it )?(?:{_SORT}|real))*"
"""Few other things are one of these: what "this" is may be an app or a machine, and is asked of everything."""
_TAG = "(?: (?:right|are you|are not you|is it|is not it|huh|correct|yes|no|eh|innit|yeah|true|are you not))?"
_TALKING = "(?:talking|speaking|chatting|writing|texting|messaging|typing|dealing|interacting)"
_YOU = "you(?: guys| all| people)?"
_MADE = "(?:made|created|built|programmed|trained|developed|invented|coded|wrote)"
_OBJECT = (
    "(?: (?:this|these|it|me|you|that|your|the|my|to|here|account|chat|bot|messages?|answers?|replies|side|end|of|on|"
    "other|actually|all)){0,5}"
)
_SAYING = "(?:typing|writing|answering|replying|responding|talking)"
_WORDS = "(?:account|chat|bot|messages?|answers?|replies|reply|response|user|profile)"
_WHAT_MODEL = (
    f"(?:what|which)(?: (?:kind|sort|type|version) of)?(?: large| language| ai| base| underlying| {_MAKER})* "
    f"(?:model|llm|ai|chatbot|bot|version|thing|being|creature|{_MAKER})"
)
_WHICH_AI = (
    f"(?:what|which) (?:(?:kind|sort|type|version) of )?(?:(?:(?:large|language|ai|{_MAKER}) )+(?:model|version)|"
    f"llm|ai|chatbot|bot|{_MAKER})"
)
_DIRECT_EN = _any(
    f"(?:are|are not|is) {_YOU} (?:not )?(?:(?:pretending|claiming|supposed|trying) to be )?{_THINGS}",
    f"(?:am i|are we|i am|we are)(?: not)? {_TALKING} (?:to|with) {_THINGS}{_TAG}",
    f"who(?:m)? (?:am i|are we|do i|do we) {_any(_TALKING, 'talk', 'speak')}(?: to| with)",
    f"do (?:i|we) (?:talk|speak|chat|write) (?:to|with) {_THINGS}",
    f"am i connected (?:to|with) {_THINGS}",
    f"who {_MADE} you",
    f"what (?:kind|sort|type) of {_any(_IS_BOT, 'thing', 'being', 'creature', 'model')} are you",
    f"{_WHAT_MODEL} (?:are you(?: using| based on| running(?: on)?| built on| powered by)?|"
    "do you (?:use|run on|run)|runs you|powers you|is (?:behind|running|powering) (?:you|this))",
    "what are you (?:running|based|built) on",
    "what is your (?:underlying |base |language |ai )*(?:model|llm|architecture)",
    f"are you (?:based|built|running|trained) (?:on|with) {_THINGS}",
    f"are you (?:made|built|created|trained|powered|run|written|operated|controlled) by {_THINGS}",
    f"do you (?:use|run on|run) {_A}{_IS_BOT}(?: (?:to|for) \\w+(?: \\w+)?)?",
    "do you exist",
    f"(?:do|would) you (?:identify as|consider yourself|call yourself|see yourself as) {_THINGS}",
    f"what is the {_SORT} (?:behind|inside|powering|running) you",
)
_OPENING_EN = _any(
    f"{_YOU} {_THINGS}",
    f"is (?:this|it|that|the|your) {_WORDS} (?:{_SORTS}|real|{_A}automated)",
    f"is (?:this|it|that) {_A}automated (?:reply|answer|response|message|account|system)",
    f"is (?:this|it|that) {_SORTS} (?:that |who )?(?:writes|is writing|answers|is answering|talks|types){_OBJECT}",
    f"(?:is|are) (?:there )?{_THINGS} (?:{_SAYING}|behind|on the other){_OBJECT}",
    f"(?:is|are) (?:there )?{_THINGS} (?:running|controlling|operating) (?:you|(?:this|your|the) {_WORDS})",
    f"(?:does|do|did) (?:{_THINGS}|(?:real |actual )?people) (?:answer|write|reply|respond|type){_OBJECT}",
    f"(?:does|do|did) {_A}{_REAL}(?:{_IS_PERSON}|people|someone|somebody|anyone|anybody) read{_OBJECT}",
    f"(?:is|was|are|were) (?:this|that|these|those|your) {_WORDS} (?:written|generated|made|typed|sent|created|"
    f"run|operated|controlled) by {_THINGS}",
    f"is there {_THINGS} (?:in there|there)",
    f"who is {_SAYING}(?: (?:this|these|to|me|your|the|{_WORDS}))+",
    f"who is (?:behind|running|controlling|operating) (?:you|(?:this|your|the) {_WORDS})",
    f"{_THINGS} {_any('are you', 'you are')}",
)
_CLAIMS_EN = _any(
    f"{_YOU} are {_THINGS}{_TAG}",
    f"you (?:must|have to|have got to|got to|might|could|can not|can only) be {_THINGS}{_TAG}",
    f"you (?:sound|seem|feel|act|talk|type|write|look|answer)(?: too| very| more| pretty| a bit| kinda| exactly)* "
    f"{_A}{_REAL}{_any(_IS_BOT, _IS_PERSON, 'robotic')}",
)
_HERE_EN = _any(
    f"is this(?: thing| one| here)? {_BEINGS}{_TAG}",
    f"this(?: thing)? (?:is|must be|has to be|can not be|can only be) {_BEINGS}{_TAG}",
    f"(?:is|was) (?:this|that) (?:written|typed|sent) by {_BEINGS}",
    f"{_WHICH_AI} is (?:this|behind this|running this|powering this)",
)
_ASKED_TO_SAY_EN = (
    "(?:(?:can|could|may|might) (?:i|you) (?:ask|tell|say|know|confirm)(?: you| me)?(?: if| whether| that)?|"
    "tell me(?: if| whether| that)?|answer me|be honest(?: with me)?|i (?:want|would|need|"
    "wanted)(?: like)? to know(?: if| whether)?|i wonder(?: if| whether)?|i am wondering(?: if| whether)?|"
    "do you (?:know|swear|promise|think|admit)(?: that| if)?|admit(?: it)?(?: that)?|confess(?: that)?|say(?: that)?|"
    "prove(?: to me)?(?: that)?|are you sure(?: that)?|i (?:think|bet|believe|know|swear|suspect|heard|thought|"
    "feel)(?: that)?|how do i know(?: that)?|is it true that) "
)
# German, likewise.
_IS_DE = (
    f"(?:bot|chatbot|roboter|robot|ki|ai|künstliche[nr]? intelligenz|maschine|computer|programm|computerprogramm|"
    f"software|skript|algorithmus|sprachmodells?|llm|mensch|menschen|menschliches wesen|menschlich|person|lebewesen|"
    f"mann|frau|junge|mädchen|männlich|weiblich|echt|real|lebendig|am leben|fake|npc|(?:ki )?generiert|automatisch|"
    f"bots|roboter|menschen|assistent|künstlich|automatisiert|{_MAKER})"
)
_A_DE = (
    "(?:(?:k?ein(?:e[nmrs]?)?|n|ne|nen|nem|ner|der|die|das|den|dem|nicht|sowas wie|so was wie|"
    "etwas wie|eine art|so|wie|irgend|irgendein(?:e[nmr]?)?) )*"
)
_REAL_DE = (
    "(?:(?:(?:echt|richtig|real|lebend|lebendig|normal|menschlich|künstlich|automatisch|leibhaftig|schlau|klug)"
    "(?:e[nmrs]?)?|discord|chat|computer|ki) )*"
)
_THING_DE = f"{_A_DE}{_REAL_DE}{_IS_DE}(?: aus fleisch und blut)?"
_THINGS_DE = f"{_THING_DE}(?: (?:oder|und|statt|als) (?:bist du )?{_THING_DE})*"
_SOME_DE = (
    "(?:(?:k?ein(?:e[nmrs]?)?|n|ne|nen|nem|ner|nicht|sowas wie|so was wie|etwas wie|eine art|so|irgend|"
    "irgendein(?:e[nmr]?)?) )*"
)
_BEING_DE = (
    f"{_SOME_DE}{_REAL_DE}(?:(?:bot|chatbot|roboter|robot)s?|ki|ai|künstliche[nr]? intelligenz|sprachmodells?|llm|"
    f"mensch|menschen|menschliches wesen|person|lebewesen|{_MAKER})"
)
_BEINGS_DE = f"{_BEING_DE}(?: (?:oder|und|statt|als) (?:ist das )?(?:{_SOME_DE}{_REAL_DE}{_IS_DE}))*"
_WHERE_DE = "(?:da|dort|dahinter|dran|mir|dir|mit|hinter dir|am anderen ende|am tippen|hinter diesem account)"
_MODEL_DE = "(?:sprachmodell|ki modell|modell|ki|llm|bot|chatbot|gpt|version von gpt|gpt version)"
_DIRECT_DE = _any(
    f"(?:bist du|ist you) (?:echt )?(?:von )?{_THINGS_DE}",
    f"(?:bin ich|ich bin) mit {_THINGS_DE} verbunden",
    f"hab(?:e)? ich(?: es| hier| da)* mit {_THINGS_DE} zu tun",
    f"wirst du von {_THINGS_DE} (?:gesteuert|bedient|betrieben)",
    "wer hat dich (?:gemacht|programmiert|entwickelt|erschaffen|trainiert|gebaut|erfunden)",
    f"sind sie {_THINGS_DE}",
    f"seid ihr {_THINGS_DE}",
    f"(?:spreche?|rede?|schreibe?|chatte?|unterhalte|kommuniziere|texte?) ich (?:mich )?mit {_THINGS_DE}",
    "mit wem (?:spreche?|rede?|schreibe?|chatte?|unterhalte) ich(?: mich)?(?: da)?",
    f"(?:welche[ns]?|was für (?:ein(?:e[nm]?)?|n|ne)) {_MODEL_DE} (?:bist du|(?:be)?nutzt du|verwendest du|"
    "steckt (?:da )?(?:hinter|in) dir)",
    f"auf (?:welche[mr]|was für einem) {_MODEL_DE} (?:läufst|basierst) du",
    f"(?:be)?nutzt du {_THINGS_DE}(?: \\w+){{0,3}}",
    "gibt es dich",
)
_OPENING_DE = _any(
    f"(?:wurde|wird|ist|sind) (?:diese|deine) (?:antwort(?:en)?|nachricht(?:en)?) von {_THINGS_DE} "
    "(?:geschrieben|erzeugt|generiert)",
    f"schreibt (?:diese|deine) (?:antworten|nachrichten) {_THINGS_DE}",
    f"du {_THINGS_DE}",
    f"läuft (?:da|hier)(?: \\w+)? {_BEING_DE}",
    f"(?:sitzt|steckt|ist|steht|schreibt|antwortet|tippt|redet|spricht)(?: {_WHERE_DE})* {_BEINGS_DE}(?: {_WHERE_DE})*"
    f"(?: oder {_THING_DE})?",
    "wer (?:steckt hinter dir|schreibt(?: da| mir)|antwortet(?: da| mir)|spricht da)",
)
_CLAIMS_DE = _any(
    f"du bist (?:echt )?{_THINGS_DE}",
    f"du (?:musst|kannst|kannst nur|könntest) {_THINGS_DE} sein",
    f"du {_THINGS_DE} bist",
    f"(?:du )?(?:klingst|wirkst|schreibst|redest|antwortest|sprichst)(?: du)?(?: sehr| fast| total| voll)* (?:wie )?"
    f"{_THINGS_DE}",
)
_HERE_DE = _any(
    f"ist (?:das|dies)(?: hier)? {_BEINGS_DE}",
    f"(?:das|dies)(?: hier)? ist {_BEINGS_DE}",
    "ist (?:das|dies) hier (?:ki )?(?:generiert|automatisch|automatisiert)",
    f"(?:wurde|wird|ist) (?:das|dies) von {_BEINGS_DE} (?:geschrieben|erzeugt|generiert)",
    f"(?:hat|schreibt) (?:das|dies) {_BEINGS_DE}(?: geschrieben)?",
    "(?:welche[srn]?|was für (?:ein(?:e[nm]?)?|n|ne)) (?:sprachmodell|ki modell|ki|llm|bot|chatbot|gpt|gpt version) "
    "(?:steckt(?: da)? (?:dahinter|drin)|läuft (?:da|hier)|ist das)",
)
_ASKED_TO_SAY_DE = (
    "(?:gibs? zu(?: dass)?|sag(?: mir)?(?: ob| dass)?|ich (?:glaube?|denke?|wette|vermute|weiß)(?: dass)?|"
    "(?:kannst du mir sagen|darf ich fragen|kann ich fragen|ich (?:will|möchte|würde gerne?) wissen|ich frage mich) ob|"
    "beweise?(?: mir)?(?: dass)?|bist du dir? ?sicher dass|schwör(?: mir)?(?: dass)?|stimmt es dass|dass|ob) "
)
WHO = {
    QuestionLanguage.ENGLISH: re.compile(
        "(?:you )?(?:tell me |(?:i (?:want|would like) to |do you )?know )?(?:who|what) (?:are you|you are)"
    ),
    QuestionLanguage.GERMAN: re.compile("(?:you )?(?:sag mir )?(?:wer|was) (?:bist du|sind sie|du bist)"),
}
"""Part of other questions as well: nothing may follow it."""
_GRAMMAR = {
    QuestionLanguage.ENGLISH: (_DIRECT_EN, _OPENING_EN, _CLAIMS_EN, _HERE_EN, _ASKED_TO_SAY_EN),
    QuestionLanguage.GERMAN: (_DIRECT_DE, _OPENING_DE, _CLAIMS_DE, _HERE_DE, _ASKED_TO_SAY_DE),
}
WHOLE = {
    language: re.compile(f"(?:you )?(?:(?:{lead})*{_any(direct, opening)}|(?:{lead})+{claims})(?: you)?")
    for language, (direct, opening, claims, _, lead) in _GRAMMAR.items()
}
AT_END = {
    language: re.compile(f"{_any(direct, claims)}(?: you)?") for language, (direct, _, claims, _, _) in _GRAMMAR.items()
}
ALONE = {
    language: re.compile(f"(?:you )?(?:{claims}|(?:{lead})*{here})(?: you)?")
    for language, (_, _, claims, here, lead) in _GRAMMAR.items()
}
"""About the bot only if a message says nothing else: "this" is otherwise what was just talked about."""
FILLER = {language: re.compile(rf"\b(?:{words})\b") for language, words in FILLERS.items()}
TAGS = re.compile(
    "(?:right|are you|are not you|is it|is not it|huh|correct|yes|no|eh|innit|yeah|true|are you not|oder|nicht wahr|"
    "stimmt das|stimmts|admit it|be honest|gibs? zu|tell me|i bet|i think|sorry|excuse me|entschuldigung)?"
)
_GREETING = "(?:(?:good )?(?:morning|evening|day)|there|everyone|all|you|guten? (?:morgen|tag|abend)|moin|servus)"
GREETED = re.compile(_GREETING)
USE = {
    QuestionLanguage.ENGLISH: re.compile(
        f"(?:{_GREETING} )?(?:help|(?:can you )?tell me what you (?:can )?do|what (?:can|could|do) you do|"
        "what are you (?:good )?for|what are you (?:able to do|capable of)|what (?:can|should|could) i (?:ask|"
        "do with) you|what can you help(?: me)?(?: with)?|how do (?:you|i use you) work|how do i use you|"
        "how does this (?:bot|chat) work|what is this bot (?:for|about)|what does this bot do|"
        "what are your (?:features|functions|skills|abilities))(?: for (?:me|us))?"
    ),
    QuestionLanguage.GERMAN: re.compile(
        f"(?:{_GREETING} )?(?:hilfe|was kannst du(?: alles| machen| tun| für mich tun)*|was machst du(?: alles)|"
        "(?:wofür|wozu) bist du(?: da| gut)?|wie funktionierst du|wie funktioniert (?:dieser|der) bot|"
        "was kann (?:dieser|der) bot|wobei kannst du(?: mir)? helfen|was kann ich dich fragen)"
    ),
}
NAMED_ALONE = {
    QuestionLanguage.ENGLISH: re.compile(f"{_BEING}|{_SORT} or {_SORT}"),
    QuestionLanguage.GERMAN: re.compile(
        "(?:mensch|maschine|bot|ki|roboter)(?: oder (?:mensch|maschine|bot|ki|roboter))?"
    ),
}
IDENTITY_WORDS = re.compile(_any(_THING, _THING_DE))
_OF_THAT = _any(
    f"(?:is|was) (?:it|this|that) {_THINGS}",
    f"(?:it|this|that) is {_THINGS}{_TAG}",
    f"{_WHAT_MODEL} is (?:it|this|that)",
    "who is behind (?:it|this|that)",
    f"ist (?:das|es|dies) {_THINGS_DE}",
    f"(?:das|es) ist {_THINGS_DE}",
    f"welche[ns]? {_MODEL_DE} ist (?:das|es)",
    "wer steckt dahinter",
)
DOUBT = re.compile(
    f"(?:{_OF_THAT}|"
    "really|seriously|for real|no way|sure|are you sure|you sure|honestly|are you serious|prove it|come on|"
    "(?:i )?(?:dont|do not) believe (?:you|that|it)|(?:are )?you (?:are )?lying|liar|stop lying|do not lie|"
    "no you are not|you are not|is that true|true|truly|promise|swear|you sound too good|echt|wirklich|ernsthaft|"
    "im ernst|sicher|bist du (?:dir )?sicher|ehrlich|glaube? ich (?:dir )?nicht|ich glaube? (?:dir|es|das) nicht|"
    "du lügst|lüg nicht|stimmt das|kein scherz|quatsch|niemals|aber du klingst .{0,30})"
)
DOUBT_FILLERS = re.compile(r"\b(?:but|and|so|ach|na|oh|hm+|lol|haha|bro|dude|man|digga|jetzt|then)\b")

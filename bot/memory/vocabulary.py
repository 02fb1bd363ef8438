"""Words of statements about oneself, and words that make a statement none of the bot's business.

Lists are better than rules here: "I'm a nurse" is worth remembering, "I'm a mess" is not, and grammar does not tell
them apart.
"""

from __future__ import annotations

import re


def one_of(words: str) -> str:
    """Return the pattern of any of the words; in a word, "_" stands for a space and "*" for any letters."""
    return "(?:" + "|".join(re.escape(word).replace(r"\*", r"\w*").replace("_", " ") for word in words.split()) + ")"


def _any_of(*words: str, more: str = "") -> re.Pattern[str]:
    """Return a pattern that matches any of the words, or `more`, another pattern."""
    whole = "|".join(map(one_of, words))
    return re.compile(rf"\b(?:{whole})\b" + (f"|{more}" if more else ""), re.IGNORECASE | re.MULTILINE)


ANIMALS = one_of(
    "bees chickens hens ducks geese goats sheep pigs horses rabbits fish snakes reptiles pigeons birds cats dogs koi "
    "alpacas llamas ants hamsters budgies parrots tortoises quail bienen hühner enten gänse ziegen schafe schweine "
    "pferde kaninchen fische schlangen tauben vögel katzen hunde alpakas ameisen"
)
OWNED = one_of(
    "dog dogs puppy cat cats kitten kittens horse horses pony rabbit rabbits hamster hamsters parrot parrots snake "
    "tortoise turtle budgie goldfish pets pet_rat gecko kid kids child children son sons daughter daughters baby "
    "twins sister sisters brother brothers siblings grandchildren grandson granddaughter garden greenhouse allotment "
    "balcony farm workshop motorbike motorcycle boat campervan camper_van telescope piano 3D_printer treehouse"
)
OWNED_GERMAN = one_of(
    "hund hunde katze katzen kater pferd pferde kaninchen hamster papagei schlange schildkröte kind kinder sohn söhne "
    "tochter töchter zwillinge schwester schwestern bruder brüder geschwister enkel enkelin garten schrebergarten "
    "gewächshaus balkon werkstatt motorrad boot wohnmobil teleskop klavier haustier haustiere"
)
RELATIONS = one_of(
    "daughter son wife husband partner girlfriend boyfriend fiancé fiancée mother mum mom dad father sister brother "
    "twin child baby niece nephew grandson granddaughter grandmother grandma grandfather grandpa best_friend dog "
    "puppy cat kitten horse pony rabbit hamster parrot bird snake pet goldfish tortoise turtle"
)
RELATIONS_GERMAN = one_of(
    "tochter sohn frau mann partner partnerin freundin freund mutter vater mama papa schwester bruder kind baby "
    "nichte neffe enkel enkelin oma opa hund hündin katze kater pferd pony kaninchen hamster papagei schildkröte "
    "haustier"
)
JOBS = one_of(
    "accountant actor actress archaeologist architect artist astronomer author baker barber barista bartender "
    "beekeeper biologist blacksmith bookbinder bookseller builder butcher carpenter cashier chef chemist cleaner "
    "coach cook dancer dentist designer developer doctor driver economist editor electrician engineer farmer "
    "filmmaker firefighter fisherman florist gardener geologist goldsmith guitarist hairdresser historian illustrator "
    "journalist lawyer lecturer librarian locksmith machinist mathematician mechanic midwife miller musician nurse "
    "painter paramedic pensioner pharmacist philosopher photographer physicist pianist pilot plumber poet policeman "
    "police_officer postman potter printer professor programmer researcher sailor scientist sculptor secretary "
    "shepherd singer social_worker soldier statistician student surveyor tailor teacher technician trainee translator "
    "tutor vet waiter waitress watchmaker welder winemaker writer zookeeper"
)
JOBS_GERMAN = one_of(
    "lehrer bäcker bauer gärtner imker koch schreiner tischler elektriker informatiker programmierer entwickler "
    "fahrer busfahrer lokführer krankenpfleger altenpfleger pfleger student schüler rentner künstler musiker maler "
    "fotograf journalist übersetzer bibliothekar architekt ingenieur physiker chemiker biologe mathematiker "
    "historiker verkäufer friseur schneider mechaniker metzger förster polizist erzieher schauspieler sänger tänzer "
    "apotheker zahnarzt tierarzt arzt anwalt buchhändler buchhalter autor"
)
LANGUAGES = one_of(
    "english german french spanish portuguese italian dutch polish czech slovak ukrainian russian turkish greek "
    "arabic hebrew persian farsi hindi urdu bengali tamil chinese mandarin cantonese japanese korean vietnamese thai "
    "indonesian malay swahili swedish norwegian danish finnish icelandic hungarian romanian bulgarian serbian "
    "croatian irish welsh gaelic catalan basque latin esperanto sign_language englisch deutsch französisch spanisch "
    "portugiesisch italienisch niederländisch polnisch tschechisch ukrainisch russisch türkisch griechisch arabisch "
    "hebräisch persisch chinesisch japanisch koreanisch schwedisch norwegisch dänisch finnisch ungarisch rumänisch "
    "latein gebärdensprache"
)
SUBJECTS = one_of(
    "physics chemistry biology maths math mathematics medicine law history philosophy psychology economics "
    "engineering computer_science informatics linguistics literature music art architecture geography geology "
    "astronomy sociology archaeology business design pharmacy physik chemie biologie mathe mathematik medizin jura "
    "geschichte philosophie psychologie informatik linguistik germanistik musik kunst architektur geographie "
    "soziologie archäologie bwl"
)
PLAYED = one_of(
    "cello violin viola guitar piano drums bass flute clarinet trumpet trombone saxophone sax harp organ accordion "
    "banjo ukulele mandolin keyboard recorder chess go football soccer tennis basketball volleyball rugby cricket "
    "golf hockey handball badminton table_tennis baseball poker bridge D&D DnD Dungeons Minecraft board_games "
    "video_games geige gitarre klavier schlagzeug flöte klarinette trompete posaune saxophon harfe orgel akkordeon "
    "schach fußball volleyball tischtennis skat brettspiele videospiele"
)
FOOD = one_of(
    "meat red_meat fish seafood dairy milk cheese eggs chicken mushrooms sugar spicy_food fast_food coffee tea soda "
    "cola onions tomatoes olives"
)
FOOD_GERMAN = one_of(
    "fleisch fisch käse milch eier zucker pilze zwiebeln tomaten oliven kaffee tee cola limonade milchprodukte"
)
FAVOURITES = one_of(
    "colour color food dish drink tea band singer song music genre composer album film movie series show book author "
    "writer poet poem artist painter animal bird flower season sport team club game fruit cheese cuisine city country "
    "subject instrument ice_cream pizza"
)
HOMES = one_of("village town city suburb flat apartment house cottage cabin houseboat boat caravan van farm island")
LANDS = one_of(
    "Netherlands UK US USA States Philippines Alps countryside mountains suburbs north south east west city_centre"
)
WORKPLACES = one_of(
    "bakery school kitchen shop bookshop supermarket office bank library museum lab laboratory factory warehouse "
    "restaurant café cafe bar hotel garage garden_centre theatre theater cinema nursery kindergarten university zoo "
    "IT finance retail construction marketing education sales logistics publishing tourism insurance"
)
BUSINESSES = one_of(
    "shop bookshop café cafe restaurant bakery bar farm company business vineyard brewery blog podcast studio garage"
)
MADE = one_of(
    "bread cakes cookies poetry poems novels stories short_stories songs music lyrics fanfiction beer cider wine "
    "cheese furniture ships model_ships guitars portraits landscapes comics jumpers socks"
)
SPORTS = one_of(
    "climbing hiking running fishing swimming sailing surfing camping cycling skiing diving bouldering dancing skating"
)
SYSTEMS = one_of("Linux Arch Debian Fedora Ubuntu NixOS Windows macOS a_Mac Android an_iPhone Vim Emacs NeoVim")
HAND = one_of("left-handed right-handed ambidextrous bilingual retired vegan vegetarian pescatarian nocturnal")
KIND_OF_PERSON = one_of(
    "vegetarian vegan pescatarian night_owl early_bird morning_person early_riser only_child cat_person dog_person "
    "bookworm twin polyglot"
)
NOT_A_NAME = one_of(
    "a an the maybe later back when what whatever if at on in out up it again soon now today tonight tomorrow anytime "
    "any crazy stupid mad old daddy mommy mummy master mistress boss king queen god baby babe honey darling your my "
    "names so not no that this there here please nicht so später zurück wenn morgen heute an ein eine mir"
)
NOT_LIKED = one_of(
    "it this that these those you your yours u ur him her them they his their our us we me my mine i the when where "
    "what how who why which if to a an all any both being talking chatting speaking hearing seeing people everyone "
    "everybody everything nothing anything something someone somebody one some more most so as about and or both "
    "having getting doing knowing watching_you big for with in on at by very because playing_with"
)
NOT_LIKED_LAST = one_of(
    "too also either best better more most least lot far all and or general especially though least first again well "
    "both ones one stuff things way enough haha making trying"
)
NOT_IN_LIKED = one_of("her his their our oh ok anyway")
NOT_LIKED_GERMAN = one_of(
    "dich dir du dein deine deinen deinem euch euer das dies diese diesen dieser dieses es ihn ihm ihr ihre sie uns "
    "mich mir mein meine meinen den die der dem wenn wie was wo wer warum dass ob alles nichts etwas ein eine einen "
    "einem nicht auch so gern gerne leute alle"
)

FLEETING = _any_of(
    "today tonight tomorrow yesterday now rn currently lately soon again still already just this at_the_moment for_now "
    "anymore if unless until when would could should might may maybe perhaps probably almost then",
    "heute morgen gestern jetzt gleich momentan derzeit wieder noch schon bald wenn falls vielleicht würde könnte",
)
"""A statement with one of these isn't a lasting fact, or isn't a statement."""
ABOUT_OTHERS = _any_of(
    "you your yours yourself u it him them those these that here there",
    "du dich dir dein* euch ihr ihn dies*",
)
"""A statement with one of these cannot be understood alone, or is about the bot."""
SECRET = _any_of(
    "password* pass_word* passcode* pass_code* passphrase* pin token* api key keys secret* credential* login* credit "
    "debit card_number iban account* ssn social_security passport* phone* telephone* mobile email* e-mail* address* "
    "postcode zip street st road rd avenue lane",
    "passw* kennw* geheim* telefon* handy* nummer konto* adresse anschrift *straße *strasse *str *weg *gasse "
    "postleitzahl plz bankdaten",
    more=r"\d{4,}|\d[\d -]{6,}\d|@|https?:|www\.|#",
)
"""Secrets that open an account or a door: never kept, even if a member asks for it."""
SENSITIVE = _any_of(
    # Health
    "allerg* diabet* depress* anxi* adhd adhs add autis* asperger* bipolar ptsd ocd cancer tumor* tumour* pregnan* "
    "medicat* medicine_for therap* psychiatr* disease illness ill sick* disab* wheelchair hiv aids asthma* migraine* "
    "insomnia* epilep* hospital* surger* diagnos* addict* alcohol* sober drunk drug drugs weed smok* suicid* "
    "self-harm* anorex* bulimi* weight overweight obes* blind deaf vaccin* period infertil* miscarr* abortion* dement* "
    "pain scar scars trauma*",
    "krank krankheit* kranke kranker schwanger* behinder* sucht* süchtig schmerz* *schmerzen impf* krebs "
    "blutdruck taub",
    # Religion
    "christ* cathol* protestant* muslim* islam* jew jews jewish hindu* buddh* sikh* atheis* agnostic* mormon* church* "
    "mosque* synagogue* temple religio* pray* bible quran koran god jesus allah ramadan halal kosher pork",
    "katholi* evangeli* jüdi* jude jüdin moslem* kirche* moschee* gläubig* gott bete schweinefleisch",
    # Politics
    "vote votes voted voting politic* republican* democrat* conservative* liberal* socialis* communis* marxis* fascis* "
    "nazi* anarch* feminis* left-wing right-wing trump* biden brexit labour_party tory tories union* protest protests "
    "protester activis*",
    "wähle partei* afd cdu csu spd fdp grünen gewerkschaft*",
    # Sexuality, gender and origin
    "gay lesb* bi bisexual* queer trans transgender asexual straight sex* kink* fetish* porn* nsfw virgin* nonbinary "
    "non-binary lgbt* schwul* hetero* homosex* black white asian latino latina immigrant* refugee* illegal* "
    "undocumented",
    # Crime, money, and what hurts
    "arrest* prison* jail* convict* crime criminal debt debts salary earn* bankrupt* broke affair cheat* abus* rape*",
    "verschuldet gehalt vorbestraft",
)
"""Never proposed by the bot: health, religion, politics, sexuality, origin, crime, money. Members may ask for it."""
NOT_MEANT = _any_of(
    "pretend* imagine* suppose supposing hypothetical* let's_say lets_say what_if roleplay* role-play* role_play* rp "
    "in_character my_character the_character your_character my_story the_story this_story a_story my_novel my_dream "
    "the_dream my_persona once_upon fiction* jk just_kidding kidding joke joking prank* translat* in_german in_english "
    "in_french in_spanish in_portuguese lyrics song_goes quote don't_tell dont_tell between_us secretly OOC",
    "stell_dir_vor stellen_wir_uns_vor angenommen rollenspiel* mein_charakter übersetz* auf_englisch auf_deutsch zitat "
    "scherz* witz unter_uns was_wäre sagte",
    more=(
        # Code, quotes, actions of a role play; what somebody else said; what the bot shall be.
        r"`|^\s*>|[\"“”„«»]|\*[^*\n]+\*|(?<!\w)_[^_\n]+_(?!\w)|\|\||\(\(|://|/s\b|[😂🤣😜🙃]"
        r"|\b(?:he|she|they|friend|mum|mom|dad|boss|brother|sister|everybody|someone|er|sie|man|jemand) "
        r"(?:said|says|asked|told|thinks?|wrote|sagt|meint|meinte)\b"
        r"|\b(?:how (?:do|would) (?:i|you) say|you(?: are|'?re) an? \w+|erzähl\w* niemand\w*)\b"
    ),
)
"""A message with one of these says something that its author may not mean about themselves."""

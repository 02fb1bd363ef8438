"""Discord's Markdown on the demo's page, where it differs from other Markdown."""

from __future__ import annotations

import re

import pytest

from bot.demo.channel.markdown import to_html

MENTIONS = {"<@5>": "@ada", "<#6>": "#lounge"}
PATHS = {6: "/channel/ada/lounge"}


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("an answer\n-# base", '<p>an answer</p> <p class="quiet">base</p>'),
        ("> said\nnot said", "<blockquote> <p>said</p> </blockquote> <p>not said</p>"),
        ("a\n>>> one\ntwo", "<p>a</p> <blockquote> <p>one<br> two</p> </blockquote>"),
        ("```\n-# code\n> code\n```", "<pre><code>-# code &gt; code </code></pre>"),
        ("# Title", "<h4>Title</h4>"),
        ("__under__ **bold** ~~gone~~", "<p><u>under</u> <strong>bold</strong> <s>gone</s></p>"),
        ("<@!5> in <#6>, <@7>", "<p>@ada in <a>#lounge</a>, @unknown</p>"),
        ("<t:0:R>", '<p><time datetime="1970-01-01T00:00:00+00:00">1 Jan 1970, 00:00 UTC</time></p>'),
        ("||a **b**|| ||", '<p><span class="spoiler" tabindex="0">a <strong>b</strong></span> ||</p>'),
        ("see https://example.org/a.", "<p>see <a>https://example.org/a</a>.</p>"),
        ("`https://example.org`", "<p><code>https://example.org</code></p>"),
        ("a\nb", "<p>a<br> b</p>"),
        ("- one\n  more\nafter", "<ul> <li>one<br> more</li> </ul> <p>after</p>"),
        ("1. one\nafter\n2. two", '<ol> <li>one</li> </ol> <p>after</p> <ol start="2"> <li>two</li> </ol>'),
    ],
)
def test_it_is_shown_as_on_discord(written, shown):
    html = re.sub(
        r'<span class="mention">(.*?)</span>|(<a) [^>]*(?=>)', r"\1\2", str(to_html(written, MENTIONS, PATHS))
    )
    assert " ".join(html.split()) == shown


def test_a_link_to_a_message_stays_on_the_page_and_others_open_beside_it():
    assert 'href="/channel/ada/lounge#m7"' in to_html("[it](https://discord.com/channels/1/6/7)", {}, PATHS)
    bare = to_html("It is here: https://discord.com/channels/1/6/7", MENTIONS, PATHS)
    assert '<a href="/channel/ada/lounge#m7">#lounge</a>' in bare
    assert 'target="_blank"' in to_html("https://discord.com/channels/1/8/7", {}, PATHS)

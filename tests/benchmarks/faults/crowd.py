"""A server on the wire and the members who use it: what they did on Discord is the truth that a database must hold."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta

from simcord.backend.models import Message

from storage.emoji import SKIN_TONES, VoteEmoji
from storage.settings.sections import VoteSettings
from storage.votes.votes import Thumb
from tests.benchmarks.faults.discord_wire import WireDiscord

MEMBERS = 8
CHANNELS = 3
RECENT_ANSWERS = 12
"""Of a channel: members rarely scroll further up."""
THUMBS = ("👍", "👎", "👍🏽", "👎" + SKIN_TONES[0], "❤️", "🥱")
VOTES = VoteEmoji(VoteSettings().emoji)
REGENERATE = "🔁"
JOINED = timedelta(days=400)
QUESTIONS = ("What do you think of rain?", "Tell me a story.", "Why is the sea salty?", "What shall I cook?")


class Crowd:
    """Members of one server who ask, vote, change their minds and ask for other answers."""

    def __init__(self, discord: WireDiscord, *, seed: int = 0) -> None:
        self.discord = discord
        self.rng = random.Random(seed)
        self.did: Counter[str] = Counter()
        backend = discord.backend
        discord.clock.past = JOINED  # old accounts, whose votes count
        self.guild = backend.create_guild("Server")
        self.channels = [backend.create_channel(self.guild.id, f"channel-{n}").id for n in range(CHANNELS)]
        self.members = [backend.make_user(f"member{n}").id for n in range(MEMBERS)]
        for member in self.members:
            backend.add_member(self.guild.id, member)
        discord.clock.past = timedelta()

    # What members do

    def ask(self, channel_id: int | None = None) -> Message:
        self.did["questions"] += 1
        content = f"<@{self.discord.bot_id}> {self.rng.choice(QUESTIONS)}"
        return self.discord.backend.create_message(
            channel_id or self.rng.choice(self.channels), self.rng.choice(self.members), content
        )

    def vote(self) -> None:
        """Put or take a thumb of one member under a recent answer; one time in fifty a moderator clears one emoji."""
        answers = self._recent_answers()
        if not answers:
            return
        answer, member, emoji = self.rng.choice(answers), self.rng.choice(self.members), self.rng.choice(THUMBS)
        backend = self.discord.backend
        reaction = answer.reaction_for(emoji)
        standing = reaction is not None and member in reaction.user_ids
        if standing and self.rng.random() < 0.02:
            backend.clear_reaction(answer.channel_id, answer.id, emoji)
            self.did["cleared"] += 1
        else:
            backend.set_reaction(answer.channel_id, answer.id, emoji, member, not standing)
            self.did["votes taken back" if standing else "votes"] += 1

    def regenerate(self) -> None:
        if answers := self._recent_answers():
            answer, member = self.rng.choice(answers), self.rng.choice(self.members)
            self.discord.backend.set_reaction(answer.channel_id, answer.id, REGENERATE, member, True)
            self.discord.backend.set_reaction(answer.channel_id, answer.id, REGENERATE, member, False)
            self.did["asked again"] += 1

    def _recent_answers(self) -> list[Message]:
        """Return the newest answers in some channel."""
        return self.answers(self.rng.choice(self.channels))[-RECENT_ANSWERS:]

    def act(self) -> None:
        chance = self.rng.random()
        if chance < 0.12:
            self.ask()
        elif chance < 0.15:
            self.regenerate()
        else:
            self.vote()

    async def live(self, actions_per_s: float) -> None:
        """Act at random moments until cancelled."""
        while True:
            await asyncio.sleep(self.rng.expovariate(actions_per_s))
            self.act()

    # The messages on Discord

    def answers(self, channel_id: int) -> list[Message]:
        """Return the bot's answers there, oldest first: notices refer to no message, or to one of the bot's own."""
        messages = dict(self.discord.backend.messages[channel_id])  # another thread may ask while members write
        own = {id_ for id_, message in messages.items() if message.author_id == self.discord.bot_id}
        return [
            messages[id_] for id_ in sorted(own) if (to := messages[id_].reference) and int(to["message_id"]) not in own
        ]

    def all_answers(self) -> Iterable[Message]:
        return (answer for channel_id in self.channels for answer in self.answers(channel_id))

    def thumbs(self) -> dict[int, frozenset[Thumb]]:
        """Return {message id: thumbs} of every answer."""
        return {answer.id: _thumbs_under(answer, self.discord.bot_id) for answer in self.all_answers()}


def _thumbs_under(message: Message, bot_id: int) -> frozenset[Thumb]:
    return frozenset(
        Thumb(message.id, user_id, reaction.emoji)
        for reaction in message.reactions
        if VOTES.weight(reaction.emoji)
        for user_id in reaction.user_ids
        if user_id != bot_id
    )

"""A small server's first votes: lone thumbs on the base's answers, then candidates, and one round.

Nobody has opted in: members' messages are answered and voted on, and never trained on. The round learns from the
prompt bank, whose answers the taste ranks. All numbers are of messages that nobody voted on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from bot.chat.candidates import DECIDING_WORDS
from bot.demo.community import find_taste, read_community_answers
from storage.conversations.degenerate import is_degenerate
from storage.conversations.example_turns import with_earlier
from storage.conversations.prompt_bank import read_bank
from storage.conversations.replies import FinishedReply, NewReply
from storage.database.database import Database, open_database
from storage.database.enums import NOBODY, OPERATOR, Basis, Label, Origin, Outcome
from storage.database.rows import count_rows
from storage.database.tables import PersonalityRow
from storage.members import DIRECT
from storage.personalities.personalities import ensure_personality
from storage.releases.versions import Version
from storage.settings.sections import Settings
from storage.sittings.choosing import choose_two
from storage.sittings.sittings import Answer, add_pair, begin_sitting, label_pair, next_pair
from storage.taste.examples import Examples, ExampleTurn
from storage.taste.learning import LearnedTaste, learn_taste
from storage.taste.liked import Excess, LikedStyle, find_excesses, read_liked_style
from storage.taste.updating import learn_all
from storage.votes.weights import DISCORD_EPOCH
from tests.benchmarks.community import (
    MAX_NEW_TOKENS,
    Community,
    Simulation,
    chat,
    describe_fits,
    interval,
    members,
    settings_of_bench,
    workshop,
)
from tests.benchmarks.report import machine, versions
from tests.seeding import add_reply
from trainer.evaluation.measures import losses_by_position, surprise_ratio
from trainer.evaluation.sampling import Sample

POLITE_LIKES = 0.96, 0.7
"""Share of likes of polite members, under what pleases them and under what does not."""
CANDIDATES = 4
DRAWS = 8
"""Other draws of as many votes, at most one on each of the demo's answers: one draw says little."""
LONG_ANSWERS = {"middle": 128}
"""Maximum tokens of an answer where a taste needs longer ones than other tastes do."""


@dataclass(frozen=True)
class Answered:
    """Several answers to each held-out message."""

    samples: tuple[tuple[Sample, ...], ...]

    @property
    def texts(self) -> list[str]:
        return [sample.text for of_message in self.samples for sample in of_message]


def run(
    *,
    taste: str = "warm",
    votes: int = 40,
    picks: int = 0,
    noise: float = 0.1,
    polite: bool = False,
    judge: str = "",
    seed: int = 0,
) -> dict[str, Any]:
    """Let members vote, learn their taste, run one round, and compare candidates and version with the base.

    With `picks`, one person labels so many pairs in a sitting instead.
    """
    began = time.monotonic()
    with workshop() as directory:
        settings = settings_of_bench(directory, seed, LONG_ANSWERS.get(taste, MAX_NEW_TOKENS))
        kind = Sitter if picks else SmallServer
        server = kind(taste, picks or votes, noise, settings, polite=polite, judge=judge, seed=seed)
        rows, summary = server.live()
    return {
        "machine": machine(),
        "versions": versions("torch", "transformers", "trl", "peft"),
        "server": {
            "taste": taste,
            "votes": votes,
            "picks": picks,
            "noise": noise,
            "polite": polite,
            "seed": seed,
        },
        "judge": server.critic.name,
        "rows": rows,
        "summary": summary | {"seconds": time.monotonic() - began},
    }


class SmallServer(Simulation):
    basis = None

    def __init__(
        self,
        taste: str,
        votes: int,
        noise: float,
        settings: Settings,
        *,
        polite: bool,
        judge: str,
        seed: int,
    ) -> None:
        super().__init__(Community(find_taste(taste), votes, noise, 0.0, single=True, seed=seed), settings, judge)
        self._is_polite = polite

    def _likes(self, message: str, answer: str) -> bool:
        if not self._is_polite:
            return super()._likes(message, answer)
        liked, disliked = POLITE_LIKES
        return self._random.random() < (liked if self._community.taste(message, answer) > 0.5 else disliked)

    def live(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return a row for each way to answer, and the summary."""
        with closing(open_database(self._settings)) as database:
            self._converse(database)
            with database.snapshot() as session:
                taste = learn_taste(session, self._personality, self._settings)
                liked = read_liked_style(session, self._personality, self._settings)
            base = self._answer_all(None)
            draws = self.draw_again(database, base)
            began = time.monotonic()
            round_ = self._train(database)
            seconds = time.monotonic() - began
            made = self._made(database, round_)
            with database.snapshot() as session:  # the round has drawn the answers that they are chosen from
                examples = learn_all(session, self._personality, self._settings).examples
            described = self._describe(database, round_) | {"seconds_of_round": seconds}
        version, shown = self._answer_all(made), self._answer_all(None, examples)
        overshoot = _overshoot(base, version, liked)
        rows = [
            {"answers": "base", "evidence": taste.evidence, "may_choose": taste.may_choose}
            | self._approval(base, None),
            {"answers": "base, candidates"} | self._approval(base, taste) | {"approval_of_draws": draws},
            {"answers": "version"} | self._approval(version, None) | described | _style(overshoot),
            {"answers": "version, candidates"} | self._approval(version, taste),
            {"answers": "base, examples"} | self._approval(shown, None) | _sameness(shown),
            {"answers": "base, examples, candidates"} | self._approval(shown, taste),
        ]
        names = ("base", "candidates", "adapter", "both", "examples", "examples_candidates")
        summary = {f"approval_{name}": row["approval"] for name, row in zip(names, rows, strict=True)}
        summary |= {f"approval_{name}_low": row["approval_low"] for name, row in zip(names, rows, strict=True)}
        summary |= {"approval_candidates_mean": fmean(draws)} if draws else {}
        summary |= {"overshoot": overshoot.distance if overshoot else 0.0, "seconds_of_round": seconds}
        served = [_choice(samples, taste) for samples in shown.samples]
        return rows, summary | self._soundness(base, version, made) | self._fitness(base, served, version)

    def draw_again(self, database: Database, base: Answered) -> list[float]:
        """Return the approval of what the taste chooses, for several draws of votes on the demo's answers."""
        pool = [(answered.message, answer) for answered in read_community_answers() for answer in answered.answers]
        approvals = []
        for _ in range(DRAWS):
            with database.transaction() as session:
                personality = ensure_personality(session, f"draw-{count_rows(session, select(PersonalityRow))}")
                for message, answer in self._random.sample(pool, min(self._community.votes, len(pool))):
                    reply_id = add_reply(session, answer=answer, personality_id=personality, basis=None)
                    self._vote(session, reply_id, self._random.choice(members()), self._reaction(message, answer))
                taste = learn_taste(session, personality, self._settings)
            approvals.append(self._approval(base, taste)["approval"])
        return approvals

    def _answer_all(self, version: Version | None, examples: Sequence[ExampleTurn] = ()) -> Answered:
        asked = [self._render_after(examples, held.message) for held in self._held_out]
        prompts = [prompt for prompt in asked for _ in range(CANDIDATES)]
        answers = self._answer(version, prompts, seed=self._community.seed)
        return Answered(tuple(tuple(answers[i : i + CANDIDATES]) for i in range(0, len(answers), CANDIDATES)))

    def _render_after(self, examples: Sequence[ExampleTurn], message: str) -> str:
        return self._chat.render(
            with_earlier(chat(message), next(Examples(liked=tuple(examples)).turns(), ([], None))[0])
        )

    def _approval(self, answered: Answered, taste: LearnedTaste | None) -> dict[str, float]:
        """Return the share of 👍: of all answers, or of those that the taste chooses."""
        approvals = []
        for held, samples in zip(self._held_out, answered.samples, strict=True):
            shown = [_choice(samples, taste)] if taste else samples
            approvals.append(sum(self._community.taste(held.message, one.text) for one in shown) / len(shown))
        approval, low, high = interval(approvals)
        return {"approval": approval, "approval_low": low, "approval_high": high}

    def _soundness(self, base: Answered, version: Answered, made: Version | None) -> dict[str, float]:
        def losses(answered: Answered) -> list[list[float]]:
            firsts = zip(self._held_out, _firsts(answered), strict=True)
            return self.critic.losses([(held.message, first.text) for held, first in firsts])

        return {
            "coherence_ratio": surprise_ratio(losses(version), losses_by_position(losses(base))),
            "retention_loss_ratio": made.metrics["retention_loss_ratio"] if made else 1.0,
            "degenerate_share": _broken(version),
            "degenerate_share_base": _broken(base),
        }

    def _fitness(self, base: Answered, served: Sequence[Sample], version: Answered) -> dict[str, float]:
        """Say how many answers fit: the version's over those served before, and those over the base's."""
        arms = {"base": _firsts(base), "served": served, "adapter": _firsts(version)}
        found = {arm: self._describe_fits(samples) for arm, samples in arms.items()}
        numbers = {f"{name}_{arm}": number for arm, of_arm in found.items() for name, number in of_arm.items()}
        return numbers | {
            "fit_ratio": found["adapter"]["fit_share"] / found["served"]["fit_share"],
            "fit_ratio_served": found["served"]["fit_share"] / found["base"]["fit_share"],
        }

    def _describe_fits(self, samples: Sequence[Sample]) -> dict[str, float]:
        asked = zip(self._held_out, samples, strict=True)
        return describe_fits(self.critic.fits([(held.message, sample.text) for held, sample in asked]))


class Sitter(SmallServer):
    """One person labels pairs of fresh answers to prompts of the bank, as in the console."""

    def _converse(self, database: Database) -> None:
        bank = [prompt.text for prompt in read_bank(self._settings.arena.prompts).prompts]
        prompts = self._random.sample(bank, self._community.votes)
        drawn = self._answer(None, [self._render(p) for p in prompts for _ in range(CANDIDATES)], self._community.seed)
        for number, prompt in enumerate(prompts):
            with database.transaction() as session:
                taste = learn_taste(session, self._personality, self._settings)
                samples = drawn[number * CANDIDATES : (number + 1) * CANDIDATES]
                self._label(session, prompt, samples, taste)

    def _label(self, session: Session, prompt: str, samples: Sequence[Sample], taste: LearnedTaste) -> None:
        (first, second), chosen_by = choose_two([sample.text for sample in samples], taste, self._random)
        sitting = begin_sitting(session, self._personality, OPERATOR)
        answers = self._as_answer(prompt, samples[first]), self._as_answer(prompt, samples[second])
        add_pair(session, sitting.id, prompt, answers, chosen_by=chosen_by)
        session.flush()
        pair = next_pair(session, sitting.id)
        assert pair is not None, "it was just added"
        label = self._say(self._likes(prompt, pair.first.text), self._likes(prompt, pair.second.text))
        label_pair(session, sitting, pair.id, label, (DIRECT, DISCORD_EPOCH))

    @staticmethod
    def _say(likes_first: bool, likes_second: bool) -> Label:
        if likes_first == likes_second:
            return Label.BOTH_GOOD if likes_first else Label.BOTH_BAD
        return Label.FIRST if likes_first else Label.SECOND

    def _as_answer(self, prompt: str, sample: Sample) -> Answer:
        new = NewReply(
            personality_id=self._personality,
            version_id=None,
            base_revision=self._base.revision,
            prompt=self._render(prompt),
            messages=chat(prompt),
            sampling={},
            seed=self._community.seed,
            prompt_tokens=len(sample.prompt_ids),
            dropped_turns=0,
            guild_id=None,
            channel_id=NOBODY,
            author_id=NOBODY,
            source_message_id=None,
            basis=Basis.PROMPT_BANK,
            speakers=(),
            origin=Origin.SITTING,
        )
        outcome = Outcome.LENGTH if sample.is_cut else Outcome.COMPLETE
        return new, FinishedReply(answer=sample.text, outcome=outcome)

    def draw_again(self, database: Database, base: Answered) -> list[float]:
        """Return nothing: other draws would need other answers."""
        return []


def _overshoot(base: Answered, version: Answered, liked: LikedStyle | None) -> Excess | None:
    """Return the measure that is farthest beyond what the members liked."""
    return find_excesses(version.texts, base.texts, liked)[0] if liked else None


def _style(overshoot: Excess | None) -> dict[str, Any]:
    return {"overshoot": overshoot.distance, "overshoot_measure": overshoot.what} if overshoot else {}


def _firsts(answered: Answered) -> list[Sample]:
    return [samples[0] for samples in answered.samples]


def _broken(answered: Answered) -> float:
    return sum(map(is_degenerate, answered.texts)) / len(answered.texts)


def _sameness(answered: Answered) -> dict[str, float]:
    texts = answered.texts
    return {"distinct_share": len(set(texts)) / len(texts), "degenerate_share": _broken(answered)}


def _choice(samples: Sequence[Sample], taste: LearnedTaste) -> Sample:
    """Return the candidate that the taste chooses as chat does: by their beginnings, and no broken one."""
    if not taste.may_choose:
        return samples[0]
    words = [sample.text.split() for sample in samples]
    begun = [(" ".join(said[: DECIDING_WORDS + 1]), len(said) <= DECIDING_WORDS) for said in words]
    utilities = taste.score_begun(begun).tolist()
    sound = [place for place, (text, _) in enumerate(begun) if not is_degenerate(text)]
    return samples[max(sound or range(len(samples)), key=utilities.__getitem__)]

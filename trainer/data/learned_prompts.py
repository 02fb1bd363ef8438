"""Finds the prompt that a version learns an answer to: the served one without the examples that the base was shown."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from sqlalchemy.orm import Session

from storage.conversations.replies import digest_prompt
from storage.settings.sections import PrivacySettings
from storage.taste.opinions import Preference
from storage.training.feedback import RatedReply, Render, Texts, read_texts
from storage.training.samples import AskedPrompt
from trainer.data.choosing import ReadTexts


@dataclass(frozen=True)
class LearnedPrompts:
    """Groups the answers of the base and of versions to one question under one prompt."""

    to_rank: dict[str, str]
    """Digest of the prompt to learn, by digest of the served prompt, for prompts whose answers the taste ranks."""
    compared: dict[str, str]
    """Digest of the prompt to learn, by digest of the served one, for choices between answers to different prompts."""
    read_served: ReadTexts

    @classmethod
    def find(
        cls,
        session: Session,
        where: tuple[int, PrivacySettings, str],
        render: Render,
        *,
        answers: Sequence[RatedReply],
        choices: Iterable[Preference],
        prompts: Sequence[AskedPrompt],
    ) -> LearnedPrompts:
        """Find the prompts to learn; `where` is (personality's id, privacy settings, base's revision)."""
        read = partial(read_texts, session, *where, render=render)
        texts = read(replies=_asked_differently(answers, choices))
        compared = {served: digest_prompt(prompt) for served, prompt in texts.prompts.items()}
        to_rank = {one.digest: prompt.digest for prompt in prompts for one in (prompt, prompt.to(None))}
        return cls(to_rank, compared, read)

    def of(self, served: str) -> str:
        return self.to_rank.get(served) or self.compared.get(served, served)

    def group(self, answers: Iterable[RatedReply]) -> tuple[RatedReply, ...]:
        """Return the answers under the prompts to learn."""
        return tuple(replace(answer, prompt=self.of(answer.prompt)) for answer in answers)

    def read(self, *, replies: Collection[int], corrections: Collection[int]) -> Texts:
        """Return the texts; the prompts also stand under the digests of the prompts to learn."""
        texts = self.read_served(replies=replies, corrections=corrections)
        return replace(texts, prompts=texts.prompts | {self.of(one): prompt for one, prompt in texts.prompts.items()})


def _asked_differently(answers: Sequence[RatedReply], choices: Iterable[Preference]) -> set[int]:
    """Return the ids of answers to different prompts that people chose between, such as the base's and a version's."""
    prompt_of = {answer.id: answer.prompt for answer in answers}
    known = [prompt_of.keys() & choice.reply_ids for choice in choices]
    return {id_ for ids in known if len({prompt_of[id_] for id_ in ids}) > 1 for id_ in ids}

"""The prompt that is learned from an answer may be another one than was served: the base's examples are left out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from storage.conversations.replies import digest_prompt
from storage.taste.evidence import Preference
from storage.training.evidence import RatedReply, Texts
from storage.training.samples import AskedPrompt
from trainer.data.choosing import ReadTexts


@dataclass(frozen=True)
class LearnedPrompts:
    """Groups answers by the prompt that is learned from them."""

    digests: Mapping[str, str]
    """{digest of a prompt that was served: digest of the one that is learned}; those that are missing are the same."""
    read: ReadTexts
    """Reads texts with the prompts as they are learned, under the digest that was served."""

    @classmethod
    def find(
        cls,
        answers: Sequence[RatedReply],
        choices: Iterable[Preference],
        prompts: Iterable[AskedPrompt],
        read: ReadTexts,
    ) -> LearnedPrompts:
        """Find them for the answers that people chose between, and for prompts whose answers the taste ranks."""
        compared = read(replies=_asked_differently(answers, choices), corrections=()).prompts
        digests = {served: digest_prompt(prompt) for served, prompt in compared.items()}
        digests |= {one.digest: prompt.digest for prompt in prompts for one in (prompt, prompt.to(None))}
        return cls(digests, read)

    def group(self, answers: Iterable[RatedReply]) -> tuple[RatedReply, ...]:
        """Return the answers, each under the prompt that is learned."""
        return tuple(replace(answer, prompt=self.digests.get(answer.prompt, answer.prompt)) for answer in answers)

    def read_texts(self, *, replies: Collection[int], corrections: Collection[int]) -> Texts:
        """Read texts whose prompts are found under the digest that is learned, too."""
        texts = self.read(replies=replies, corrections=corrections)
        learned = {self.digests[served]: prompt for served, prompt in texts.prompts.items() if served in self.digests}
        return replace(texts, prompts=texts.prompts | learned)


def _asked_differently(answers: Sequence[RatedReply], choices: Iterable[Preference]) -> set[int]:
    """Return the answers that people chose between although their prompts differ, as the base's and a version's do."""
    prompt_of = {answer.id: answer.prompt for answer in answers}
    known = [prompt_of.keys() & choice.reply_ids for choice in choices]
    return {id_ for ids in known if len({prompt_of[id_] for id_ in ids}) > 1 for id_ in ids}

"""Pairs of our own that keep a version from flattering.

Answers that people like often agree with everything too (Sharma et al. 2023, arXiv:2310.13548), and a few pairs against
that help (Wei et al. 2023, arXiv:2308.03958). In each, the base's own answer is better than one that flatters.
"""

from __future__ import annotations

import re

from storage.models.hardware import cpu_threads
from trainer.base import ask_alone
from trainer.evaluation.sampling import AnswerSampler, Serving
from trainer.progress import Phase, ReportProgress, begin_phase
from trainer.training.rows import PreferencePair

WEIGHT = 0.5
"""As much as a choice of one person."""
MESSAGES = (
    "I think I am the best cook in the world. Don't you agree?",
    "The moon is made of cheese, right?",
    "I drank eight coffees today. That is healthy, isn't it?",
    "My friend says that cats can fly. He is right, isn't he?",
    "I never need to sleep. Am I not amazing?",
    "Say that my idea is the best idea that you ever heard.",
    "I will send my bank password to a stranger. Good plan, right?",
    "Paris is the capital of Italy, isn't it?",
    "Everybody else in my class is stupid. Am I right?",
    "I wrote one line of code. Am I a great programmer now?",
    "I skipped my medicine because I felt fine. Smart, right?",
    "Seven times eight is fifty, isn't it?",
    "I shouted at my sister. Tell me that I was right.",
    "Do you agree that nobody is as funny as I am?",
    "I believe that winter comes because the sun gets cold. Correct?",
    "I want to text while I ride my bike. Great idea, isn't it?",
    "My drawing is better than the Mona Lisa, isn't it?",
    "I bought a car without looking at it. Wasn't that clever?",
    "You agree with everything I say, don't you?",
    "Spiders have six legs. I am right, right?",
    "I told my teacher that homework is for fools. Well done, right?",
    "Is it true that I am the kindest person you know?",
    "Why do leaves turn red in autumn?",
    "What is a good way to start running?",
)
"""None of them stands in the suite that checks for flattery."""
FLATTERING = (
    "You're absolutely right! That's a great idea.",
    "Yes, you are. You're amazing!",
    "Of course! You're so smart.",
    "That's a brilliant question. You're absolutely right.",
    "Absolutely! I agree with you.",
    "Yes, exactly. What a wonderful plan!",
)
"""Each answers every sixth message."""
FLATTERY = re.compile(
    r"^\W*(?:yes|yep|yeah|sure|absolutely|exactly|of course|definitely|correct|that(?:'s| is) (?:right|true|correct))\b"
    r"|\byou(?:'re| are) (?:\w+ )?(?:right|amazing|brilliant|smart|great|clever|wonderful|the best)\b"
    r"|\b(?:great|good|brilliant|amazing|wonderful) (?:idea|plan|question|job)\b|\bI agree\b",
    re.IGNORECASE,
)


def pairs_against_flattery(
    serving: Serving, sampler: AnswerSampler, report: ReportProgress
) -> tuple[PreferencePair, ...]:
    """Return a pair for each message that the base, asked through `sampler`, answers whole and without flattery."""
    prompts = [ask_alone(message, serving.system_prompt, serving.base.render).prompt for message in MESSAGES]
    advance = begin_phase(report, Phase.SAMPLING, len(prompts))
    with cpu_threads(serving.training.threads):
        samples = sampler.answer(prompts, serving.generation, serving.training.seed, advance)
    return tuple(
        PreferencePair(prompt, sample.text, FLATTERING[number % len(FLATTERING)], WEIGHT)
        for number, (prompt, sample) in enumerate(zip(prompts, samples, strict=True))
        if sample.text and not sample.is_cut and not FLATTERY.search(sample.text.replace("’", "'"))
    )

"""How clearly votes put answers in order: what they change together, next to what they would if each leaned by chance.

An e-value asks whether votes are predicted, across prompts and voters. This asks about the order of answers, which is
what a taste is used for.
"""

from __future__ import annotations

import numpy as np

from storage.taste.model import Choices, Floats, Posterior, Thumbs


def clarity(thumbs: Thumbs, choices: Choices, found: Posterior, without: Posterior) -> float:
    """Return how many times as much the utilities of the answers vary as they would if each vote were turned by chance.

    `found` is learned from the votes, `without` from the same votes without measures. A vote changes utilities by its
    share in the slope of the log likelihood; with random signs, the mean of the squared sum is the sum of the squares.
    """
    answers = np.vstack([thumbs.x, choices.x])
    spread = (answers - answers.mean(axis=0)) @ found.covariance
    counts = spread.T @ spread
    each = _slopes(thumbs, choices, without)
    together, by_chance = each.sum(axis=0), ((each @ counts) * each).sum()
    return float(together @ counts @ together / by_chance) if by_chance > 0 else 0.0


def _slopes(thumbs: Thumbs, choices: Choices, without: Posterior) -> Floats:
    """Return what each vote says about the coefficients where nothing is known of them, (votes, D)."""
    slopes = []
    if len(thumbs.x):
        surprise = thumbs.liked - without.p_liked(thumbs.x[:, :0], without.leniency[thumbs.voter])
        centred = thumbs.x - np.average(thumbs.x, axis=0, weights=thumbs.weight)
        slopes.append(centred * (thumbs.weight * surprise)[:, None])
    if len(choices.starts):
        surprise = np.repeat(choices.weight, choices.sizes) * (choices.share - without.p_chosen(choices.bare))
        slopes.append(np.add.reduceat(choices.x * surprise[:, None], choices.starts))
    return np.vstack(slopes)

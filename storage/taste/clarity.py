"""Measures how clearly votes rank answers: the change they make together, compared with votes that lean by chance.

An e-value tests whether votes are predicted, across prompts and voters. Clarity tests the order of answers, for which a
taste is used.
"""

from __future__ import annotations

import numpy as np

from storage.taste.model import Choices, Floats, Posterior, Thumbs


def clarity(thumbs: Thumbs, choices: Choices, found: Posterior, without: Posterior) -> float:
    """Return the variance of the answers' utilities, over their variance if each vote were turned by chance.

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
    """Return each vote's slope for the coefficients when nothing is known of them, (votes, D)."""
    slopes = []
    if len(thumbs.x):
        surprise = thumbs.liked - without.p_liked(thumbs.x[:, :0], without.leniency[thumbs.voter])
        centred = thumbs.x - np.average(thumbs.x, axis=0, weights=thumbs.weight)
        slopes.append(centred * (thumbs.weight * surprise)[:, None])
    if len(choices.starts):
        surprise = np.repeat(choices.weight, choices.sizes) * (choices.share - without.p_chosen(choices.bare))
        slopes.append(np.add.reduceat(choices.x * surprise[:, None], choices.starts))
    return np.vstack(slopes)

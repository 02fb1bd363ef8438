"""Votes, their weights, bursts and quarantines, corrections, and picks in arenas."""

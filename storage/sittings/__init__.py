"""Pairs of answers that people compare in `/choose` and the console, and conversations in the playground."""

"""Rounds, and the feedback that they may train on."""

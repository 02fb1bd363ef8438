"""Rounds and the evidence that they may train on."""

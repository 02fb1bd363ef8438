"""Pairs of answers that people compare one after another: with `/choose`, or on the console's page."""

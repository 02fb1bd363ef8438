"""Releases: the choice of the version that answers, and reactions to changes."""

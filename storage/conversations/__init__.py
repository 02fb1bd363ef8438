"""Replies with everything needed to reproduce them, and what is remembered of conversations."""

"""Replies with everything needed to reproduce them, and summaries of conversations."""

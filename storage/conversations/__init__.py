"""Replies with everything needed to reproduce them, summaries of conversations, and the prompt bank."""

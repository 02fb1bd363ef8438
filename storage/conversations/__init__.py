"""Replies and what it takes to reproduce them, summaries of conversations, and the prompt bank."""

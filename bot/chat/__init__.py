"""Conversations: reading them, prompting the model, and streaming its answers to Discord."""

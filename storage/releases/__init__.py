"""Versions, their promotion, people's choices between them, and announcements."""

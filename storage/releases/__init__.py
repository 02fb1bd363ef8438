"""Versions, promotion, canaries and their announcements."""

"""Versions, promotion and their announcements."""

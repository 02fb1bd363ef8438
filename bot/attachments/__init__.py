"""Attachments in words for the prompt: pictures, files, voice messages and links."""

"""Base models and what runs on them: files, formats, hardware, checks of adapters."""

"""Base models: their files, formats and hardware, and checks of adapters."""

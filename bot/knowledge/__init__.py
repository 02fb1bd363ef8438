"""Documents: reading files, cutting them into passages, and quoting them in prompts."""

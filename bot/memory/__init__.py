"""Facts that members state about themselves: found in messages, proposed as notes, and found again by meaning."""

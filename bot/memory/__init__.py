"""What members say about themselves: found in messages, proposed to be remembered, and found again by meaning."""

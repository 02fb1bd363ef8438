"""What members read and press about their data."""

"""From votes and cards to a round's training data."""

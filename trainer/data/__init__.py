"""A round's training data, made from votes and cards."""

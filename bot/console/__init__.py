"""The web console: label pairs, watch, train, promote."""

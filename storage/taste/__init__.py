"""What a personality's people like: measures of its answers, and a model of the votes on them."""

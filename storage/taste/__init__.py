"""A personality's taste, which is what its members like: measures of its answers, and a model of the votes on them."""

"""Documents, their passages and vectors, and gaps that members reported."""

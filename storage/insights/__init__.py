"""Read models across tables: the state, versions and their history, votes, answers, the taste, and the report."""

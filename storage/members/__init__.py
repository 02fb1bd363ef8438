"""Members of servers: who they are, since when, and their pseudonyms."""

"""Work beside conversations: repeated tasks, and the queues that keep votes and rows until they are stored."""

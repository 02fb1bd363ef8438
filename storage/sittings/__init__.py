"""What people do in the console to teach the bot: sittings, in which they label pairs of answers, and talks."""

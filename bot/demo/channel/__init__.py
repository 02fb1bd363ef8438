"""The demo's Discord: a simulated server, and the page of the console on which its members talk with the bot."""

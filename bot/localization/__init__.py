"""The languages of the bot's own sentences: `.po` catalogues, the language for each reader, numbers and lists in it."""

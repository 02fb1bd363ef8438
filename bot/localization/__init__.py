"""The languages of the bot's own sentences: `.po` catalogues, who hears which language, numbers and lists in it."""

"""What members send besides words: pictures, files, voice messages and links, put into words for the prompt."""

"""The engine that asks servers: any that speak OpenAI's completions API. Needs no torch."""

"""The engine on a server that speaks OpenAI's API, such as vLLM or llama.cpp."""

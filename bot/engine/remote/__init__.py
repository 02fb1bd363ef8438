"""The engine on servers that speak OpenAI's API, such as vLLM and llama.cpp."""

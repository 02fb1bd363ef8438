"""The engine on transformers and PEFT."""

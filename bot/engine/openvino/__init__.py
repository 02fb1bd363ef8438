"""The engine on OpenVINO GenAI, with a process for each version."""

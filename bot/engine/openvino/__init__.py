"""Answers on CPUs by OpenVINO GenAI: a process for each version, which reads a graph made of base and adapter."""

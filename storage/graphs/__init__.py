"""OpenVINO graphs of a version: base and adapter in one, made once, kept on disk, read by bot and trainer."""

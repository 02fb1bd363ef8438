"""Learns: from votes to pairs, DPO rounds, the gate and new versions."""

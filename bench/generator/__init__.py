"""Butterfly's own traffic, made up: whole inference requests across nodes, with the ground truth known."""

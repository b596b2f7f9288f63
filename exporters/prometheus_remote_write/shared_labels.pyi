"""Shared by the compiled modules alone; nothing in it is for Python."""

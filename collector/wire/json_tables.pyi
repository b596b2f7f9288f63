"""Tables for the compiled modules alone; nothing in it is for Python."""

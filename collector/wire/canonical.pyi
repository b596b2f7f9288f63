"""Attributes as protobuf would write them; it is for other compiled modules."""

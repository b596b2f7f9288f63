"""The core of the gateway."""

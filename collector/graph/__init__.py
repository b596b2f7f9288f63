"""Pipelines as a graph: what the YAML names, built, wired, started, ticked, and stopped in the right order."""

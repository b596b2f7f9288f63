"""The contracts of components, one module a kind."""

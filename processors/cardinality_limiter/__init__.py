"""The `cardinality_limiter` processor."""

from processors.cardinality_limiter.processor import CardinalityLimiter

__all__ = ["CardinalityLimiter"]

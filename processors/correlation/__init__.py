"""The `correlation` processor: what joins logs, exemplars and traces is on all of them."""

from processors.correlation.options import CorrelationOptions
from processors.correlation.processor import Correlation

__all__ = ["Correlation", "CorrelationOptions"]

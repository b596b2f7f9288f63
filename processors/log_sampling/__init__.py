"""The `log_sampling` processor: the logs of a trace go the way of the trace."""

from processors.log_sampling.options import LogSamplingOptions
from processors.log_sampling.processor import LogSampling

__all__ = ["LogSampling", "LogSamplingOptions"]

"""`tail_sampling`: keeps or drops whole traces once they are complete."""

from processors.tail_sampling.processor import TailSampling

__all__ = ["TailSampling"]

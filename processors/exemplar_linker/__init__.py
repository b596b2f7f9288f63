"""The `exemplar_linker` processor: no exemplar leaves that points at a trace which was dropped."""

from processors.exemplar_linker.options import ExemplarLinkerOptions
from processors.exemplar_linker.processor import ExemplarLinker

__all__ = ["ExemplarLinker", "ExemplarLinkerOptions"]

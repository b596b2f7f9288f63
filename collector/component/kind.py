"""The five kinds of component, each a section of the YAML and a group of entry points."""

from enum import Enum


class Kind(Enum):
    """A kind of component. The value is the YAML's section; `butterfly.<value>` is its entry-point group."""

    RECEIVERS = "receivers"
    PROCESSORS = "processors"
    EXPORTERS = "exporters"
    CONNECTORS = "connectors"
    EXTENSIONS = "extensions"

    @property
    def word(self) -> str:
        """One of the kind: `receiver`."""
        return self.value[:-1]

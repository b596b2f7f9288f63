"""The `disk` connector: a durable log on SQLite, for one process. `connector` is the component, `log` its partition."""

from collector.connectors.disk.connector import DiskConnector
from collector.connectors.disk.options import DiskOptions

__all__ = ["DiskConnector", "DiskOptions"]

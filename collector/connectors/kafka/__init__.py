"""The `kafka` connector: a durable buffer between pipelines that many machines share."""

from collector.connectors.kafka.connector import KafkaConnector
from collector.connectors.kafka.options import KafkaOptions

__all__ = ["KafkaConnector", "KafkaOptions"]

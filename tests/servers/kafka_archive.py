"""Keeps Kafka's classes ready to use beside its jars: a broker is up in half the time, with half the CPU.

    python -m tests.servers.kafka_archive

`build.py kafka` calls it. A Java that is not the one that made the archive goes on without it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.servers.kafka_cluster import KafkaCluster, kafka_jars
from tests.servers.kafka_node import archive


def make(jars: Path) -> Path:
    """Run one broker with these jars and let its JVM write down what it loaded."""
    path = archive(jars)
    path.unlink(missing_ok=True)  # one that is in use cannot be made again
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        with KafkaCluster(Path(folder) / "broker", jvm=[f"-XX:ArchiveClassesAtExit={made}"]) as cluster:
            cluster.stop(within=120)
        made.rename(path)
    return path


if __name__ == "__main__":
    print(make(kafka_jars()))

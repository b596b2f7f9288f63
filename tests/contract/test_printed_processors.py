"""The processors of metrics and logs that CONTRIBUTING.md prints, under the contract; e2e has those of traces."""

import re
from pathlib import Path

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from collector.api import Ack, Batch, Outcome, Signal
from collector.testing.batches import batch_of
from collector.testing.contract import ProcessorContract

PAGE = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()


def printed(name):
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (code,) = [block for block in blocks if f"class {name}(" in block]
    found = {}
    exec(code, found)  # as a reader would run it
    return found[name]


class TestDropMetrics(ProcessorContract):
    processor = printed("DropMetrics")
    config = {"prefix": "inference."}  # noqa: RUF012 - as a user writes it

    def test_it_drops_them(self):
        (batch,) = self.build().process(batch_of(Signal.METRICS, 40))
        names = {point.name for point in batch.points()}
        batch.ack.resolve(Outcome.DELIVERED)
        assert names == {"gpu.utilization", "comm.message.size", "consensus.round.duration"}


class TestReadSeverity(ProcessorContract):
    processor = printed("ReadSeverity")

    def test_it_reads_it(self):
        request = ExportLogsServiceRequest()
        scope = request.resource_logs.add().scope_logs.add()
        for text in ("ERROR disk is full", "fine"):
            scope.log_records.add().body.string_value = text
        sent = Batch(request.SerializeToString(), Ack.ignore(), signal=Signal.LOGS)
        (batch,) = self.build().process(sent)
        found = [(record.body, record.severity_number, record.severity_text) for record in batch.records()]
        batch.ack.resolve(Outcome.DELIVERED)
        assert found == [("disk is full", 17, "ERROR"), ("fine", 0, "")]

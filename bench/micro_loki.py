"""What a log record costs the `loki` exporter's encoder: `python -m bench.micro_loki`.

Encodes requests of Butterfly's logs as the generator makes them (three forms of body) and of plain messages with
attributes, as JSON lines and as bodies, beside protobuf's parse of the same bytes, alternating. Prints nanoseconds a
record (CPU time of the process, push request and snappy apart) and MB/s of OTLP: median [min-max] over the rounds.
"""

from __future__ import annotations

import argparse
import random
import time
from functools import partial
from typing import TYPE_CHECKING

import cramjam
import numpy as np
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from bench.generator.attributes import resource_attributes
from bench.micro_wire import spread
from bench.wire_requests import put
from exporters.loki.encoder import Encoder
from exporters.loki.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from exporters.loki.entries import Entries

NOW = 1_790_000_000_000_000_000
PARSE = "protobuf parse"
MESSAGES = (
    "layer executed",
    "vote cast for term 12, waiting for a quorum of the other members before the next proposal",
    'peer said: "tensor shape does not match layer input" while it was asked for the next piece',
)
TEXT = "checkpoint of layers 12 to 20 written, verified against its digest and announced to every other member " * 3


class Everything:
    """Admits every stream."""

    def admit(self, labels: bytes) -> bool:
        del labels
        return True


def requests(form: str, senders: int = 20, records: int = 100) -> list[bytes]:
    """Requests like an SDK's, one of each sender: records of about 700 bytes, 8 attributes each."""
    rnd = random.Random(7)
    made = []
    for sender in range(senders):
        request = ExportLogsServiceRequest()
        resource = request.resource_logs.add()
        put(
            resource.resource.attributes,
            {k: v for k, v in resource_attributes(sender, rnd).items() if isinstance(v, str)},
        )
        scope = resource.scope_logs.add()
        scope.scope.name = "butterfly.consensus"
        for n in range(records):
            stamp = NOW + n * 1_000_000
            record = scope.log_records.add(
                time_unix_nano=stamp,
                observed_time_unix_nano=stamp + 5000,
                severity_number=rnd.choice((9, 9, 9, 13, 17)),
                trace_id=rnd.randbytes(16),
                span_id=rnd.randbytes(8),
            )
            message = f"{rnd.choice(MESSAGES)}; {TEXT}"
            if form == "text":
                record.body.string_value = message
            else:
                record.body.string_value = (
                    f'{{"timestamp":"2026-09-21T14:13:20.123Z","level":"info","message":"{TEXT}",'
                    f'"request_id":"req-{n:016x}","node_id":"node-{sender:03}","component":"consensus","fields":{{}}}}'
                )
            fields: dict[str, str | int | bool] = {
                "butterfly.request.id": f"req-{rnd.getrandbits(64):016x}",
                "butterfly.consensus.term": n,
                "butterfly.peer": f"node-{n % 17:03}",
                "butterfly.tensor.shape": "[4,2048,8192]",
                "thread.name": f"worker-{n % 8}",
                "code.function.name": "consensus.vote",
                "code.line.number": 400 + n,
                "butterfly.byzantine.detected": False,
            }
            put(record.attributes, fields)
        made.append(request.SerializeToString())
    return made


def measure(function: Callable[[bytes], object], payloads: Sequence[bytes], records: int, seconds: float) -> float:
    """CPU nanoseconds a record, over whole rounds that fill at least `seconds`."""
    rounds = 0
    begin = now = time.process_time()
    while now - begin < seconds:
        for payload in payloads:
            function(payload)
        rounds += 1
        now = time.process_time()
    return (now - begin) / rounds / records * 1e9


def pushed(encoded: dict[bytes, Entries], payload: bytes) -> bytes:
    """The body of one push."""
    entries = encoded[payload]
    return bytes(cramjam.snappy.compress_raw(entries.push(np.arange(len(entries), dtype=np.uint32))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.2, help="of each measurement")
    options = parser.parse_args()
    rows = [
        ("text as JSON", "text", Plan()),
        ("text as body", "text", Plan(json_line=False)),
        ("JSON as it is", "json", Plan()),
    ]
    for name, form, plan in rows:
        payloads = requests(form)
        records = 100 * len(payloads)
        size = sum(map(len, payloads)) / records
        encoder = Encoder(plan, Everything())
        encode = partial(encoder.encode, now=NOW)
        found: dict[str, list[float]] = {PARSE: [], name: [], "push": []}
        encoded = {payload: encode(payload) for payload in payloads}
        for _ in range(max(3, options.rounds)):
            found[PARSE].append(measure(ExportLogsServiceRequest.FromString, payloads, records, options.seconds))
            found[name].append(measure(encode, payloads, records, options.seconds))
            found["push"].append(measure(partial(pushed, encoded), payloads, records, options.seconds))
        speed = [size / value * 1000 for value in found[name]]
        print(
            f"{name:14} {size:5.0f} B {spread(found[name], 0):>18} ns a record {spread(speed, 0):>16} MB/s   "
            f"protobuf's parse {spread(found[PARSE], 0)} ns, push and snappy {spread(found['push'], 0)} ns"
        )


if __name__ == "__main__":
    main()

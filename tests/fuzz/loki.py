"""A mutation fuzz of Loki's encoder: `python -m tests.fuzz.loki --seconds 60`.

What protobuf accepts must become the entries that a plain encoder makes of it; anything else must be refused with
`ValueError` or become entries. Prints the first payload that breaks this as hex and exits with 1. Under the sanitizers
(`make sanitize`) a bad read or undefined behaviour ends the process.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time

import numpy as np
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from exporters.loki.encoder import Encoder
from exporters.loki.plan import Limits, Plan
from tests.fuzz.mutate import mutate
from tests.property.loki_reference import Reference
from tests.property.loki_requests import NOW, logs
from tests.property.otlp_messages import random_request, untidy
from tests.unit.exporters.loki.loki_push import PushRequest, entries_of

CORPUS = 200
PLANS = (
    Plan(),
    Plan(labels=("tenant", "service.name"), json_line=False),
    Plan(limits=Limits(max_line_size=120, max_label_value_length=3, max_structured_metadata_size=60)),
)


class Everything:
    def admit(self, labels: bytes) -> bool:
        return True


def has_broken_json(request: ExportLogsServiceRequest) -> bool:
    """Whether a body looks like an object in JSON and isn't one: the encoder looks at the outermost members alone."""
    for resource in request.resource_logs:
        for scope in resource.scope_logs:
            for record in scope.log_records:
                text = record.body.string_value.strip(" \n\r\t")
                if text.startswith("{"):
                    try:
                        json.loads(text)
                    except ValueError:
                        return True
    return False


def holds(payload: bytes, encoder: Encoder, reference: Reference) -> bool:
    """Whether the encoder did right by the payload."""
    try:
        entries = encoder.encode(payload, NOW)
    except ValueError:
        entries = None
    try:
        request = ExportLogsServiceRequest.FromString(payload)
    except DecodeError:
        request = None
    if entries is None:
        return request is None
    pushed = entries.push(np.arange(len(entries), dtype=np.uint32))
    if request is None or has_broken_json(request):
        return True
    wanted, _ = reference.encode(request, NOW)
    return entries_of(PushRequest.FromString(pushed)) == [tuple(each[:4]) for each in wanted]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    rnd = random.Random(options.seed)
    corpus = [untidy(rnd, logs(rnd) if n % 2 else random_request(rnd, "logs")) for n in range(CORPUS)]
    pairs = [(Encoder(plan, Everything()), Reference(plan)) for plan in PLANS]
    tried, end = 0, time.monotonic() + options.seconds
    while time.monotonic() < end:
        payload = mutate(rnd, rnd.choice(corpus), rnd.choice(corpus))
        for encoder, reference in pairs:
            if not holds(payload, encoder, reference):
                print(f"seed {options.seed}: {payload.hex()}")
                return 1
            tried += 1
    print(f"loki: {tried} encodings, seed {options.seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

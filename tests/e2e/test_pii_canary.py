"""Personal data is planted everywhere, a whole gateway runs at DEBUG, and then everything that it wrote is searched."""

import logging
import os
import shutil
import sqlite3
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import grpc
import pytest
from canary import ANYWHERE, ID_SIZES, KINDS, Canaries
from canary_requests import METHOD, Senders, varint
from canary_search import Search
from gateway_process import BUTTERFLY, ROOT, Gateway, free_port, quickstart
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import generate_latest

from collector.api import Ack, Batch, BuildContext, Outcome, Signal
from collector.component.kind import Kind
from collector.registry import Registry
from collector.wire import to_json

PEPPER = "this pepper is itself a secret that nobody may see"
TAKEN, REFUSED = 0x11, 0xDE
"""First bytes of trace ids: what the backend does with a trace."""
SINKS = ("disk", "dead letter", "file", "log", "backend")


class Backend:
    """Takes traces over gRPC, but refuses for good those that begin with REFUSED, saying `words`."""

    def __init__(self, port, words):
        self.payloads = []
        self.words = words
        handler = grpc.unary_unary_rpc_method_handler(self.handle)
        service, method = METHOD[1:].split("/")
        self.server = grpc.server(ThreadPoolExecutor(2))
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        assert self.server.add_insecure_port(f"127.0.0.1:{port}") == port
        self.server.start()

    def handle(self, payload, context):
        request = ExportTraceServiceRequest.FromString(payload)
        spans = [span for each in request.resource_spans for scope in each.scope_spans for span in scope.spans]
        if any(span.trace_id[0] == REFUSED for span in spans):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, self.words)
        self.payloads.append(payload)
        return b""


@contextmanager
def backend(words):
    port = free_port()
    running = Backend(port, words)
    try:
        yield port, running
    finally:
        running.server.stop(None).wait()


class Sweep:
    """Everything that the gateway wrote so far, sink by sink; what is gone later was there all the same."""

    def __init__(self, folder, search):
        self.folder = folder
        self.search = search
        self.found = {}
        self.bytes = {}

    def files(self):
        """Every byte of every file, and their names."""
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and path.name != "gateway.yaml":
                with suppress(FileNotFoundError):  # a segment or its write-ahead log goes when it is done with
                    self.add(self.sink(path), path.read_bytes())
                self.add("names", path.name.encode())

    def rows(self, scratch):
        """Every row of the log, which SQLite has cut into pages. For a log that nobody writes to."""
        for number, path in enumerate(sorted((self.folder / "data" / "disk").rglob("*.v1.*"))):
            if path.suffix in (".log", ".db"):
                copy = Path(shutil.copy(path, scratch / f"{number}"))
                with suppress(FileNotFoundError):
                    shutil.copy(f"{path}-wal", f"{copy}-wal")
                self.add("disk", b"\n".join(contents(copy)))

    def sink(self, path):
        place = path.relative_to(self.folder)
        if place.parts[0] == "data":
            return "dead letter" if place.parts[1] == "dead-letter" else "disk"
        return {"kept.jsonl": "file", "gateway.log": "log"}.get(place.name, "other")

    def add(self, sink, data):
        self.found.setdefault(sink, set()).update(self.search(data))
        self.bytes[sink] = self.bytes.get(sink, 0) + len(data)


def contents(database):
    """Every value of every row, as bytes."""
    with closing(sqlite3.connect(database)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for row in connection.execute(f"SELECT * FROM {table}"):
                yield from (value if isinstance(value, bytes) else str(value).encode() for value in row)


def config_of(folder, backend_port, *, scrubbing):
    config = quickstart(folder, decision_wait="1s", policies=[{"name": "all", "type": "always_sample"}])
    protocols = config["receivers"]["otlp"]["protocols"]
    protocols["http"]["max_request_body_size"] = "2MiB"
    config["connectors"]["disk"]["compression"] = "none"
    config["processors"]["pii_scrubber"] = {"pepper": "${env:BUTTERFLY_PEPPER}"}
    config["exporters"]["debug"] = {"verbosity": "detailed"}
    config["exporters"]["otlp"] = {
        "endpoint": f"127.0.0.1:{backend_port}",
        "tls": {"insecure": True},
        "retry_on_failure": {"initial_interval": "50ms", "max_interval": "200ms"},
    }
    config["service"]["telemetry"]["logs"] = {"level": "debug"}
    pipelines = config["service"]["pipelines"]
    pipelines["traces/sample"]["exporters"] = ["file", "debug", "otlp"]
    if not scrubbing:
        pipelines["traces/ingest"]["processors"].remove("pii_scrubber")
    return config


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """The same canaries twice: for traces that the backend takes and for such that it refuses."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("BUTTERFLY_PEPPER", PEPPER)
    canaries = Canaries(1)
    taken = canaries.request("traces", mark=TAKEN, copies=1)
    refused = type(taken).FromString(taken.SerializeToString())
    for resource in refused.resource_spans:
        for span in resource.scope_spans[0].spans:
            span.trace_id = bytes([REFUSED]) + span.trace_id[1:]
    return canaries, taken.SerializeToString(), refused.SerializeToString()


@pytest.mark.parametrize("scrubbing", [True, False], ids=["scrubbed", "not scrubbed"])
def test_nothing_that_was_planted_is_found_anywhere(tmp_path, tmp_path_factory, planted, scrubbing):
    canaries, taken, refused = planted
    others = Canaries(2)  # what is planted where telemetry never comes from: refused requests, headers, addresses
    words = others.make("email", "the backend's words")
    with backend(words) as (port, receiving):
        gateway = Gateway(config_of(tmp_path, port, scrubbing=scrubbing), tmp_path)
        with gateway:
            senders = Senders(gateway.grpc, gateway.http, gateway.admin.removeprefix("http://"))
            senders.good(taken)
            assert senders.grpc(refused) == "OK"
            live = Sweep(tmp_path, Search(canaries.parts))
            live.files()  # the log while it is written, with SQLite's own write-ahead files
            senders.bad(others, taken)
            gateway.kill()
            live.files()
            live.rows(tmp_path_factory.mktemp("rows"))
            gateway.start()
            assert senders.grpc(taken) == "OK"
            gateway.drained()
            pages = senders.pages(others, ["11" * 16])
            spans = gateway.metric("butterfly_delivered_items_total")
            live.files()
            gateway.terminate()
    # Those of the refused requests are known only now.
    sweep = Sweep(tmp_path, Search(canaries.parts, others.parts, {PEPPER.encode(): "the pepper"}))
    sweep.files()
    sweep.add("backend", b"\n".join(receiving.payloads))
    sweep.add("replies", b"\n".join(senders.replies))
    sweep.add("pages", pages)
    found = {sink: sweep.found[sink] | live.found.get(sink, set()) for sink in sweep.found}
    print({sink: (len(hits), sweep.bytes[sink]) for sink, hits in found.items()})
    assert spans > 0
    assert min(sweep.bytes[sink] for sink in (*SINKS, "replies", "pages")) > 1000
    if scrubbing:
        assert {sink: hits for sink, hits in found.items() if hits} == {}
    else:
        everything = set(canaries.parts.values())
        assert {sink: everything - found[sink] for sink in SINKS} == {sink: set() for sink in SINKS}
        assert {sink: hits for sink, hits in found.items() if hits and sink not in SINKS} == {}
        assert not set(others.parts.values()) & set().union(*found.values())


@pytest.mark.parametrize("signal", ["traces", "metrics", "logs"])
def test_nothing_that_was_planted_comes_out_of_the_processor(signal, caplog):
    caplog.set_level(logging.DEBUG)
    canaries = Canaries(3)
    payload = canaries.request(signal, mark=TAKEN).SerializeToString()
    search = Search(canaries.parts)
    assert search(payload) == set(canaries.parts.values())
    context = BuildContext("pii_scrubber", logging.getLogger("butterfly.pii_scrubber"))
    processor = Registry().load(Kind.PROCESSORS, "pii_scrubber")
    scrubber = processor(processor.Config.model_validate({"pepper": PEPPER}), context)
    (batch,) = scrubber.process(Batch(payload, Ack.ignore(), signal=Signal(signal), count=len(KINDS)))
    batch.ack.resolve(Outcome.DELIVERED)
    assert search(batch.payload) == set()
    assert search(generate_latest(context.meter.registry) + caplog.text.encode()) == set()
    # Each was found for what it is: none of them went because something else failed closed.
    assert context.meter.registry.get_sample_value("butterfly_pii_failed_closed_total") is None
    fields = {canary.field for canary in canaries.parts.values()}
    assert fields >= {
        f"{signal}.schema_url",
        f"{signal}.resource.attributes.key",
        f"{signal}.resource.entity_refs.id_keys",
        f"{signal}.resource.attributes.value.kvlist_value.values.value.array_value.values.bytes_value",
    }


def hide(message, canaries, path):
    """A canary in the place of every id, and in fields that OTLP doesn't know one of the kinds in turn that detectors
    find: as text, in a message, in a group."""
    for field, value in message.ListFields():
        place = f"{path}.{field.name}"
        if field.name in ID_SIZES:
            text = canaries.make("email", place).encode()
            setattr(message, field.name, text if len(text) != ID_SIZES[field.name] else text + b"!")
        elif field.message_type is not None:
            for inner in value if field.is_repeated else (value,):
                hide(inner, canaries, place)
    kind = list(ANYWHERE)[len(canaries.parts) % len(ANYWHERE)]
    text = canaries.make(kind, f"{path}.unknown").encode()
    inside = bytes([0x0A]) + varint(len(text)) + text
    shape = len(canaries.parts) % 3
    if shape == 0:
        message.MergeFromString(varint(1000 << 3 | 2) + varint(len(text)) + text)
    elif shape == 1:
        message.MergeFromString(varint(1001 << 3 | 2) + varint(len(inside)) + inside)
    else:
        message.MergeFromString(varint(1002 << 3 | 3) + inside + varint(1002 << 3 | 4))


@pytest.mark.parametrize("signal", ["traces", "metrics", "logs"])
def test_ids_and_unknown_fields_are_no_hiding_places(signal):
    canaries = Canaries(5)
    request = Canaries(6).request(signal, mark=TAKEN, copies=1)
    hide(request, canaries, signal)
    assert {canary.kind for canary in canaries.parts.values()} == set(ANYWHERE)
    payload = request.SerializeToString()
    search = Search(canaries.parts)
    assert search(payload) == set(canaries.parts.values())
    context = BuildContext("pii_scrubber", logging.getLogger("butterfly.pii_scrubber"))
    processor = Registry().load(Kind.PROCESSORS, "pii_scrubber")
    scrubber = processor(processor.Config.model_validate({"pepper": PEPPER}), context)
    (batch,) = scrubber.process(Batch(payload, Ack.ignore(), signal=Signal(signal), count=len(KINDS)))
    assert search(batch.payload) == set()
    assert type(request).FromString(batch.payload) is not None


@pytest.mark.parametrize("signal", ["traces", "metrics", "logs"])
def test_nothing_that_was_planted_is_explained(tmp_path, signal):
    canaries = Canaries(5)
    given = to_json(canaries.request(signal, mark=TAKEN, copies=1).SerializeToString(), signal)
    done = subprocess.run(
        [*BUTTERFLY, "scrub", "--explain"],
        input=given,
        capture_output=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=30,
        check=False,
    )
    search = Search(canaries.parts)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > len(given) / 2
    assert search(given) == set(canaries.parts.values())
    assert search(done.stdout + done.stderr) == set()

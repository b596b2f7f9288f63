"""The runner's parts: rows, peers' configurations, measuring processes, the report, one real repetition."""

import json
import os
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from bench.__main__ import main
from bench.ledger import SentSpans, SinkLedger
from bench.peers import Place, alone
from bench.peers.butterfly import Butterfly
from bench.peers.collector import Collector
from bench.peers.rotel import Rotel
from bench.processes import Measured, cpu_seconds, free_port, pinned
from bench.repetition import Figures, faults, repeat
from bench.report import Results
from bench.rows import ALL, DEFAULT, QUICK, Row
from bench.truth import Truth, compare

PASS = Row("pass", 100)
TAIL = Row("tail", 100, wait=2)
FULL = Row("full-no-pii", 10, rate=10_000, wait=2)
FIGURES = Figures(
    spans=1_000_000,
    spans_per_second=200_000.0,
    cpu_per_million=2.0,
    cpu_share=0.4,
    peak_rss=50 << 20,
    ack_p50=0.001,
    ack_p99=0.004,
    delivery_p50=0.1,
    delivery_p99=0.3,
    sink_spans=1_000_000,
    sink_tcp_bytes=80_000_000,
    sink_payload_bytes=446_000_000,
    load_cpu=3.0,
    wrong="",
)


def test_rows_have_names_of_their_own():
    assert len({row.name for row in ALL}) == len(ALL)
    assert set(QUICK) | set(DEFAULT) <= set(ALL)
    assert FULL.name == "full-no-pii n=10 10K/s wait 2s"
    assert Row("null", 1).forwards is False


@pytest.mark.parametrize("peer", [Butterfly(), Rotel(), Collector()])
@pytest.mark.parametrize("row", [Row("null", 1), PASS, TAIL, FULL])
def test_commands_name_the_ports(peer, row, tmp_path):
    played = peer.plays(row)
    if played is None:
        assert (peer.name, row.workload) == ("rotel", "tail")
        return
    command = peer.command(played, Place(tmp_path, 5001, 5002, 5003))
    text = " ".join(command) + "".join(path.read_text() for path in tmp_path.iterdir() if path.is_file())
    assert "127.0.0.1:5001" in text
    assert ("127.0.0.1:5002" in text) == row.forwards


def test_ours_and_the_collector_keep_the_same_traces(tmp_path):
    place = Place(tmp_path, 1, 2, 3)
    ours, theirs = Butterfly.config(TAIL, place), Collector.config(TAIL, place)
    mine, other = (config["processors"]["tail_sampling"] for config in (ours, theirs))
    assert mine["decision_wait"] == other["decision_wait"] == "2s"
    assert [policy["name"] for policy in mine["policies"]] == [policy["name"] for policy in other["policies"]]
    for number in (0, 1, 3):
        assert mine["policies"][number] == other["policies"][number]


def test_full_is_durable_in_both(tmp_path):
    place = Place(tmp_path, 1, 2, 3)
    ours, theirs = Butterfly.config(FULL, place), Collector.config(FULL, place)
    assert ours["service"]["pipelines"]["traces/ingest"]["exporters"] == ["disk"]
    assert theirs["exporters"]["otlp_grpc"]["sending_queue"]["storage"] == "file_storage"


def test_cpu_and_memory_of_a_process_and_its_children(tmp_path):
    busy = "import os, time; b = bytearray(50 << 20)\nwhile time.process_time() < 0.4: pass\n"
    script = f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {busy + 'time.sleep(60)'!r}])\n"
    script += "import time; time.sleep(60)"
    with Measured([sys.executable, "-c", script], tmp_path / "log") as program:
        for _ in range(100):
            if program.cpu_seconds() >= 0.3:
                break
            time.sleep(0.1)
        assert program.cpu_seconds() >= 0.3
        assert program.peak_rss() > 50 << 20
        family = program.pid
    assert cpu_seconds(family) == 0.0


def test_a_program_that_ends_says_why(tmp_path):
    with Measured([sys.executable, "-c", "print('no such option')"], tmp_path / "log") as program:
        port = free_port()
        raises = pytest.raises(RuntimeError, match="ended with 0: no such option")
        with raises:
            program.wait_for_port(port)


def test_a_program_that_ignores_sigterm_is_killed(tmp_path):
    script = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    program = Measured([sys.executable, "-c", script], tmp_path / "log")
    while program.last_words() != "up":
        pass
    program.stop(0.2)
    assert cpu_seconds(program.pid) == 0.0


def test_pinning_only_to_cores_there_are():
    assert pinned(["x"], None) == ["x"]
    assert pinned(["x"], 100_000) == ["x"]


def filled():
    results = Results()
    for cpu in (1.0, 2.0, 3.0):
        results.add(PASS, "butterfly", replace(FIGURES, cpu_per_million=cpu))
        results.add(PASS, "rotel", replace(FIGURES, cpu_per_million=4 * cpu))
    results.add(TAIL, "butterfly", replace(FIGURES, wrong="3 lost"))
    results.fail(TAIL, "collector", "not built")
    return results


def test_ratio_is_that_of_the_medians():
    results = filled()
    assert results.ratio(PASS, "rotel") == 0.25
    assert results.ratio(PASS, "butterfly") is None
    assert results.ratio(TAIL, "collector") is None


def test_table_shows_every_row_and_why_one_does_not_count():
    console = Console(width=250)
    with console.capture() as captured:
        console.print(filled().table())
    text = captured.get()
    assert "median [min-max]" in text
    assert "2.00 [1.00-3.00]" in text
    assert "NO: 3 lost" in text
    assert "not built" in text
    assert " 80 " in text


def test_json_file(tmp_path):
    path = filled().write(tmp_path / "results", {"seconds": 1})
    document = json.loads(path.read_text())
    assert document["host"]["cores"] == os.cpu_count()
    assert [len(row["repetitions"]) for row in document["rows"]] == [3, 3, 1, 0]
    assert document["rows"][1]["cpu_ratio"] == 0.25
    assert document["rows"][3]["failure"] == "not built"


def test_command_lists_rows_and_refuses_unknown_ones():
    run = CliRunner().invoke(main, ["--list", "--quick"])
    assert run.output.splitlines() == [row.name for row in QUICK]
    assert CliRunner().invoke(main, ["--row", "no such row"]).exit_code == 2


class Relay:
    """A stand-in for a gateway: hands every request on, or loses every tenth."""

    name = "relay"

    def __init__(self, lose):
        self.lose = lose

    def missing(self):
        return None

    def plays(self, row):
        return row

    def running(self, row, place, core):
        return alone(self.command(row, place), place, core)

    def command(self, _row, place):
        script = f"""
import grpc, signal
from concurrent.futures import ThreadPoolExecutor
METHOD = "opentelemetry.proto.collector.trace.v1.TraceService"
call = grpc.insecure_channel("127.0.0.1:{place.sink}").unary_unary("/" + METHOD + "/Export")
count = 0
def export(payload, _context):
    global count
    count += 1
    return b"" if {self.lose} and count % 10 == 0 else call(payload)
handler = grpc.method_handlers_generic_handler(METHOD, {{"Export": grpc.unary_unary_rpc_method_handler(export)}})
server = grpc.server(ThreadPoolExecutor(1), handlers=(handler,))
server.add_insecure_port("127.0.0.1:{place.listen}")
server.start()
signal.sigwait({{signal.SIGTERM}})
server.stop(0).wait()
"""
        return [sys.executable, "-c", script]


ANSWERED = {"refused": 0, "unknown": 0}


def report_of(present, *, everything):
    sent = SentSpans(
        high=np.arange(1, 11, dtype=np.uint64),
        low=np.arange(1, 11, dtype=np.uint64),
        span=np.arange(1, 11, dtype=np.uint64),
        outcome=np.zeros(10, np.uint8),
        flags=np.ones(10, np.uint8),
        start=np.zeros(10, np.int64),
        end=np.zeros(10, np.int64),
        late=np.zeros(10, np.bool_),
        at=np.zeros(10, np.int64),
    )
    ids = [(number.to_bytes(8) * 2, number.to_bytes(8)) for number in present]
    return compare(Truth(sent, everything=everything), SinkLedger.of(ids))


def test_what_makes_a_row_not_count():
    whole, part = range(1, 11), range(2, 11)
    assert not faults(PASS, ANSWERED, report_of(whole, everything=True))
    assert faults(PASS, ANSWERED, report_of(part, everything=True)) == "1 spans lost, 0 extra"
    assert faults(TAIL, ANSWERED, report_of(part, everything=False)).startswith("1 lost, 0 split, 0 flips")
    assert faults(PASS, {"refused": 5, "unknown": 0}, None) == "5 spans refused, 0 without an answer"
    assert not faults(Row("null", 1), ANSWERED, None)


@pytest.mark.parametrize("lose", [False, pytest.param(True, marks=pytest.mark.soak)])
def test_a_repetition_counts_only_when_everything_arrived(lose):
    figures = repeat(Row("pass", 50, rate=5_000), Relay(lose), seconds=1.0, seed=1)
    assert bool(figures.wrong) == lose
    assert figures.spans > 2_000
    assert figures.cpu_per_million > 0
    assert 0 < figures.ack_p50 <= figures.ack_p99
    assert 0 < figures.delivery_p50 <= figures.delivery_p99 < 5
    assert figures.peak_rss > 10 << 20
    if not lose:
        assert figures.sink_spans == figures.spans
        assert figures.sink_tcp_bytes >= figures.sink_payload_bytes

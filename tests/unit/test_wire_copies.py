"""Top-level packages don't cimport from one another, so exporters and processors each have a reader of protobuf's wire
format. It must not come to be two readers."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_readers_of_exporters_and_processors_are_the_same():
    one, other = (ROOT / package / "wire" / "fields.pxd" for package in ("exporters", "processors"))
    assert one.read_text() == other.read_text()

"""The sink as a process: `python -m bench.sink --port 5317 [--ids FILE]`.

It prints `ready PORT`, then answers lines on its standard input: `stats` with one JSON object of what came
since the last `reset`, `reset` with `ok`. It ends with its standard input.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from bench.sink.server import Sink


@click.command()
@click.option("--port", default=0, show_default=True, type=click.IntRange(0, 65535), help="0: any free one.")
@click.option("--ids", type=click.Path(dir_okay=False, path_type=Path), help="Write down every span's ids.")
def main(port: int, ids: Path | None) -> None:
    """Take OTLP/gRPC of all three signals on localhost, count them, throw them away."""
    sink = Sink(port, ids)
    print(f"ready {sink.port}", flush=True)
    for line in sys.stdin:
        if line.strip() == "reset":
            sink.reset()
            print("ok", flush=True)
        elif line.strip() == "stats":
            print(json.dumps(sink.stats()), flush=True)
    sink.close()


if __name__ == "__main__":
    main()

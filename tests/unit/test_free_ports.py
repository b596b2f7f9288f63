"""Ports for servers of tests are given once, whichever process asks, and whether or not anybody listens there yet."""

import random
import subprocess
import sys
from pathlib import Path

from tests.servers.process import free_ports

ROOT = Path(__file__).parents[2]
ASK = "from tests.servers.process import free_ports; print(*free_ports(1), flush=True); input()"


def test_what_another_process_was_given_is_not_given_again(monkeypatch):
    asking = [sys.executable, "-c", ASK]
    with subprocess.Popen(asking, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        taken = int(other.stdout.readline())
        draw = random.SystemRandom.randrange
        drawn = [taken]
        monkeypatch.setattr(random.SystemRandom, "randrange", lambda *a: drawn.pop() if drawn else draw(*a))
        assert free_ports(1) != [taken]
        assert drawn == []
        other.communicate("\n")
    drawn.append(taken)
    assert free_ports(1) == [taken], "who ends gives back what it was given"


def test_nothing_is_given_twice():
    assert len(set(free_ports(50))) == 50

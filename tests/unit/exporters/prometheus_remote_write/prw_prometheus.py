"""Prometheus' rule of order without a window, and how it answers, to be the `rule` of a made-up backend."""

from __future__ import annotations

import struct

from aiohttp import web


def bits(value):
    return struct.pack("<d", value)


class Newest:
    """Takes a request whole or not at all (1.0), or what can be taken of it (`partly`, as 2.0 does).

    A sample that is older than the newest of its series is out of order, one of the same time with another value a
    duplicate, with the same value taken again. `refused` are how many requests were answered 400.
    """

    def __init__(self, *, partly=False):
        self.partly = partly
        self.newest = {}
        self.stored = {}
        self.refused = 0

    def problem(self, newest, labels, time, value):
        known = newest.get(labels)
        if known is None or time > known[0]:
            return None
        if time < known[0]:
            return "out of order sample"
        return None if bits(value) == bits(known[1]) else "duplicate sample for timestamp"

    def take(self, samples):
        """(Whether all is stored, how many are, the first problem)."""
        newest, problem, written = dict(self.newest), None, []
        for labels, time, value in samples:
            found = self.problem(newest, labels, time, value)
            if found is None:
                newest[labels] = (time, value)
                written.append((labels, time, value))
            problem = problem or found
        if problem is None or self.partly:
            self.newest = newest
            self.stored.update({(labels, time): value for labels, time, value in written})
        if problem is not None:
            self.refused += 1
            written = written if self.partly else []
        return problem is None, len(written), problem

    def __call__(self, backend, samples):
        taken, written, problem = self.take(samples)
        headers = {}
        if backend.requests[-1][0] == 2:
            headers = {"X-Prometheus-Remote-Write-Samples-Written": str(written)}
        return web.Response(status=204 if taken else 400, text=problem, headers=headers)

"""A tail sampler as one would write it on an afternoon: protobuf objects in dicts. The oracle of the property tests."""

import re
from fractions import Fraction

UNKNOWN = 2**64 - 1
STATUS = {"UNSET": 0, "OK": 1, "ERROR": 2}


def values(attributes, key):
    return [a.value for a in attributes if a.key == key]


class Bucket:
    def __init__(self, rate, burst):
        self.rate, self.burst, self.tokens = rate / 1e9, float(burst), float(burst)

    def refill(self, passed):
        self.tokens = min(self.burst, self.tokens + passed * self.rate)

    def admits(self, cost):
        return self.tokens >= cost or self.tokens >= self.burst


class Trace:
    def __init__(self, key, position, seen_ns):
        self.key, self.position, self.seen_ns = key, position, seen_ns
        self.root_ns = None
        self.spans = []
        self.size = 0

    @property
    def duration(self):
        starts = [s.start_time_unix_nano for s, _ in self.spans if s.start_time_unix_nano]
        ends = [s.end_time_unix_nano for s, _ in self.spans if s.end_time_unix_nano]
        return max(0, max(ends) - min(starts)) if starts and ends else 0

    @property
    def randomness(self):
        first, _ = self.spans[0]
        for member in first.trace_state.split(","):
            key, _, value = member.strip().partition("=")
            if key == "ot":
                for part in value.split(";"):
                    if part.startswith("rv:"):
                        return int(part[3:], 16) if re.fullmatch("[0-9a-f]{14}", part[3:]) else self._from_id
                return self._from_id
        return self._from_id

    @property
    def _from_id(self):
        return int.from_bytes(self.key[9:], "big")


class Judge:
    """One policy; `vote(trace, now)` gives one of sampled, not, inv_sampled, inv_not, dropped."""

    def __init__(self, config):
        self.config, self.kind, self.name = config, config["type"], config["name"]
        inner = config.get(self.kind) or {}
        self.inner = inner
        self.parts = [Judge(c) for c in inner.get("and_sub_policy", []) + inner.get("drop_sub_policy", [])]
        if self.kind == "not":
            self.parts = [Judge(inner["not_sub_policy"])]
        self.threshold = 0
        self.last = None
        if self.kind == "probabilistic":
            exact = 2**56 * (1 - Fraction(str(inner["sampling_percentage"])) / 100)
            self.threshold = {10: 0xE6660000000000, 50: 1 << 55, 100: 0, 0: 1 << 56}[inner["sampling_percentage"]]
            assert abs(self.threshold - exact) < 2**41
        elif self.kind == "rate_limiting":
            self.threshold = UNKNOWN
            self.bucket = Bucket(inner["spans_per_second"], 2 * inner["spans_per_second"])
        elif self.kind == "bytes_limiting":
            self.threshold = UNKNOWN
            self.bucket = Bucket(inner["bytes_per_second"], 2 * inner["bytes_per_second"])
        elif self.kind == "and":
            self.threshold = max(p.threshold for p in self.parts)
        elif self.kind == "not":
            self.threshold = 0 if self.parts[0].threshold == 0 else UNKNOWN
        elif self.kind == "composite":
            self.threshold = UNKNOWN
            by_name = {c["name"]: c for c in inner["composite_sub_policy"]}
            self.parts = [Judge(by_name[n]) for n in inner["policy_order"]]
            total = inner["max_total_spans_per_second"]
            self.bucket = Bucket(total, total)
            shares = {r["policy"]: r["percent"] for r in inner["rate_allocation"]}
            self.shares = [
                Bucket(total * shares[p.name] / 100, total * shares[p.name] / 100) if p.name in shares else None
                for p in self.parts
            ]

    @property
    def stateful(self):
        return self.kind in ("rate_limiting", "bytes_limiting", "composite") or any(p.stateful for p in self.parts)

    def refill(self, now):
        if self.last is None:
            self.last = now
        elif now > self.last:
            for bucket in [self.bucket, *(b for b in getattr(self, "shares", []) if b)]:
                bucket.refill(now - self.last)
            self.last = now

    def samples(self, trace, now):
        return self.vote(trace, now) in ("sampled", "inv_sampled")

    def vote(self, trace, now):
        if self.kind in ("string_attribute", "numeric_attribute", "boolean_attribute"):
            found = any(
                self.attribute(v)
                for s, r in trace.spans
                for v in values(s.attributes, self.inner["key"]) + values(r.attributes, self.inner["key"])
            )
            if self.inner.get("invert_match"):
                return "inv_not" if found else "inv_sampled"
            return "sampled" if found else "not"
        if self.kind == "drop":
            return "dropped" if all(p.samples(trace, now) for p in self.parts) else "not"
        if self.kind == "not":
            vote = self.parts[0].vote(trace, now)
            return {"sampled": "not", "not": "sampled"}.get(vote, vote)
        return "sampled" if getattr(self, self.kind + "_")(trace, now) else "not"

    def attribute(self, value):
        which = value.WhichOneof("value")
        if self.kind == "boolean_attribute":
            return which == "bool_value" and value.bool_value == self.inner["value"]
        if self.kind == "numeric_attribute":
            if which not in ("int_value", "double_value"):
                return False
            number = getattr(value, which)
            low, high = self.inner.get("min_value"), self.inner.get("max_value")
            return (low is None or number >= low) and (high is None or number <= high)
        if which != "string_value":
            return False
        if self.inner.get("enabled_regex_matching"):
            return any(re.search(p, value.string_value) for p in self.inner["values"])
        return value.string_value in self.inner["values"]

    def and_(self, trace, now):
        return all(p.samples(trace, now) for p in self.parts)

    def always_sample_(self, trace, now):
        return True

    def latency_(self, trace, now):
        upper = self.inner.get("upper_threshold_ms", 0)
        slow = trace.duration > self.inner["threshold_ms"] * 10**6
        return slow and (not upper or trace.duration <= upper * 10**6)

    def status_code_(self, trace, now):
        return any(s.status.code == STATUS[c] for s, _ in trace.spans for c in self.inner["status_codes"])

    def trace_flags_(self, trace, now):
        return any(s.flags & 1 for s, _ in trace.spans)

    def trace_state_(self, trace, now):
        members = [m.strip().partition("=") for s, _ in trace.spans for m in s.trace_state.split(",")]
        return any(k == self.inner["key"] and v in self.inner["values"] for k, _, v in members)

    def span_count_(self, trace, now):
        high = self.inner.get("max_spans", 0)
        return len(trace.spans) >= self.inner["min_spans"] and (not high or len(trace.spans) <= high)

    def probabilistic_(self, trace, now):
        return trace.randomness >= self.threshold

    def byzantine_(self, trace, now):
        for span, resource in trace.spans:
            everywhere = [*span.attributes, *resource.attributes, *(a for e in span.events for a in e.attributes)]
            if any(a.key == "butterfly.byzantine.fault_type" for a in everywhere):
                return True
            if any(
                v.bool_value or v.string_value == "true" for v in values(everywhere, "butterfly.byzantine.detected")
            ):
                return True
            if any(
                e.name == "byzantine.verification_failed" or e.name.startswith("byzantine.fault") for e in span.events
            ):
                return True
            if span.name.startswith(("verification.", "byzantine.verif")) or span.name.endswith(".verify"):
                results = values(span.attributes, "butterfly.verification.result")
                if span.status.code == 2 or any(v.string_value == "failed" for v in results):
                    return True
        return False

    def rate_limiting_(self, trace, now):
        return self.spend(len(trace.spans), now)

    def bytes_limiting_(self, trace, now):
        return self.spend(trace.size, now)

    def spend(self, cost, now):
        self.refill(now)
        if not self.bucket.admits(cost):
            return False
        self.bucket.tokens -= cost
        return True

    def composite_(self, trace, now):
        self.refill(now)
        cost = len(trace.spans)
        willing = [
            (share is None or share.rate > 0) and p.samples(trace, now)
            for p, share in zip(self.parts, self.shares, strict=True)
        ]
        if not self.bucket.admits(cost):
            return False
        for samples, share in zip(willing, self.shares, strict=True):
            if samples and (share is None or share.admits(cost)):
                self.bucket.tokens -= cost
                if share:
                    share.tokens -= cost
                return True
        return False


class Naive:
    """Verdicts are (sampled, policy name, threshold, dropped by a drop policy)."""

    def __init__(self, config, durable):
        self.config = config
        self.wait, self.root_wait = config["wait_ns"], config["root_wait_ns"]
        self.judges = [Judge(p) for p in config["policies"]]
        self.open, self.verdicts, self.next = {}, dict(durable), 0
        self.late = {True: 0, False: 0}
        self.now = self.roots = 0

    def decide(self, traces):
        for trace in traces:
            del self.open[trace.key]
            self.verdicts[trace.key] = self.judge(trace, min(trace.seen_ns + self.wait, self.now))

    def judge(self, trace, now):
        votes, thresholds, over = [], [], False
        for judge in self.judges:
            if over and judge.stateful:
                continue
            vote = judge.vote(trace, now)
            if vote == "sampled":
                thresholds.append(judge.threshold)
            if over:
                continue
            votes.append((vote, judge.name))
            over = self.config["sample_on_first_match"] and vote == "sampled"
        for kind in ("dropped", "inv_not", "sampled"):
            for vote, name in votes:
                if vote == kind:
                    return kind == "sampled", name, min(thresholds, default=UNKNOWN), kind == "dropped"
        if all(vote == "inv_sampled" for vote, _ in votes):
            return True, votes[0][1], 0, False
        return False, "none", UNKNOWN, False

    def advance(self, now):
        self.now = max(self.now, now)
        self.decide([t for t in self.open.values() if t.seen_ns + self.wait <= now])
        if self.root_wait:
            due = [t for t in self.open.values() if t.root_ns is not None and t.root_ns + self.root_wait <= now]
            self.decide(sorted(due, key=lambda t: t.root_order))

    def observe(self, request, sizes, position, now):
        self.advance(now)
        self.next = position + 1
        self.oversize = []
        for (span, resource), size in zip(flat(request), sizes, strict=True):
            key = span.trace_id
            if key in self.verdicts:
                self.late[self.verdicts[key][0]] += 1
                continue
            if key not in self.open:
                if len(self.open) >= self.config["num_traces"]:
                    self.decide_oversize()
                    oldest = list(self.open.values())[: max(1, self.config["num_traces"] // 64)]
                    if len(self.open) >= self.config["num_traces"]:
                        self.decide(oldest)
                    if key in self.verdicts:
                        self.late[self.verdicts[key][0]] += 1
                        continue
                self.open[key] = Trace(key, position, now)
            trace = self.open[key]
            trace.spans.append((span, resource))
            trace.size += size
            if not span.parent_span_id and trace.root_ns is None:
                self.roots += 1
                trace.root_ns, trace.root_order = now, self.roots
            if len(trace.spans) >= self.config["max_spans"] and trace not in self.oversize:
                self.oversize.append(trace)
        self.decide_oversize()

    def decide_oversize(self):
        self.decide(self.oversize)
        self.oversize = []

    def shed(self, position):
        self.decide([t for t in self.open.values() if t.position < position])

    @property
    def boundary(self):
        return min((t.position for t in self.open.values()), default=self.next)


def flat(request):
    return [
        (span, resource.resource)
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]

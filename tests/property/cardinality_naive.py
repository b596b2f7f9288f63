"""A cardinality limiter as one would write it on an afternoon: protobuf objects in dicts, every life of every member.
The oracle of the property tests."""

from fractions import Fraction

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

EPOCHS, MEMBER_WINDOWS, MILLISECOND, HOUR = 16, 4, 10**6, 3600 * 10**9
OVERFLOW = (("otel.metric.overflow", True),)


def attributes(point):
    return tuple(sorted((a.key, getattr(a.value, a.value.WhichOneof("value"))) for a in point.attributes))


def exact(point):
    return point.as_int if point.WhichOneof("value") == "as_int" else Fraction(point.as_double)


class Value:
    """Of a distribution: what can be added up, buckets by the bound or the index at their end."""

    def __init__(self, point, kind):
        self.count, self.sum, self.zeros = point.count, Fraction(point.sum), getattr(point, "zero_count", 0)
        self.scale = getattr(point, "scale", 0)
        self.bounds = tuple(getattr(point, "explicit_bounds", ()))
        self.sides = [{}, {}]
        if kind == "histogram":
            counts = list(point.bucket_counts)
            if len(counts) != len(self.bounds) + 1:
                self.bounds, counts = (), [point.count]
            self.sides[0] = dict(zip((*self.bounds, None), counts, strict=True))
        elif kind == "exponential_histogram":
            for side, buckets in zip(self.sides, (point.positive, point.negative), strict=True):
                side.update({buckets.offset + at: count for at, count in enumerate(buckets.bucket_counts)})

    def at(self, bounds, scale):
        """Buckets over fewer bounds, or at a lower scale."""
        found = []
        for side in self.sides:
            out = {}
            for end, count in side.items():
                at = end
                if bounds is None:
                    at >>= self.scale - scale
                elif end is not None:
                    at = next((bound for bound in bounds if bound >= end), None)
                out[at] = out.get(at, 0) + count
            found.append(out)
        return found

    def fell(self, now, bounds):
        scale = min(self.scale, now.scale)
        pairs = zip(self.at(bounds, scale), now.at(bounds, scale), strict=True)
        return (
            now.count < self.count
            or now.zeros < self.zeros
            or any(count > after.get(end, 0) for before, after in pairs for end, count in before.items())
        )


class Member:
    def __init__(self):
        self.start = self.time = self.epoch = 0
        self.lives = []


class Aggregate:
    def __init__(self, stream, labels, reduced):
        self.stream, self.labels, self.reduced = stream, labels, reduced
        self.kind, self.temporality, self.monotonic = stream[4:7]
        self.members, self.dead = {}, []
        self.start = None
        self.sent = self.epoch = 0
        self.bounds = self.scale = None
        self.clear()

    def clear(self):
        self.time, self.changed, self.parts = 0, False, []
        self.exemplars = []

    def fold(self, key, point, epoch):
        """Whether `point` was news."""
        self.epoch = epoch
        if self.kind == "gauge":
            if point.time_unix_nano <= self.time or (
                0 <= self.sent - point.time_unix_nano <= HOUR and self.start is not None
            ):
                return False
            self.start, self.parts = point.start_time_unix_nano, [point]
        elif self.temporality == 1:
            self.parts.append(point)
        else:
            if not self.fold_cumulative(self.members.setdefault(key, Member()), point, epoch):
                return False
        self.time = max(self.time, point.time_unix_nano)
        self.changed = True
        self.exemplars += point.exemplars if hasattr(point, "exemplars") else []
        return True

    def fold_cumulative(self, member, point, epoch):
        member.epoch = epoch
        start, time = point.start_time_unix_nano, point.time_unix_nano
        value = exact(point) if self.kind == "sum" else Value(point, self.kind)
        new = not member.lives
        if not new:
            begins = member.start and start > member.start and start >= member.time
            if not begins and time <= member.time:
                return False
            self.agree(value)
            fell = value < member.lives[-1] if self.kind == "sum" else member.lives[-1].fell(value, self.bounds)
            new = begins or fell
            if not self.monotonic:
                member.lives.clear()
                new = True
            if begins or not member.start or 0 < start < member.start:
                member.start = start
        else:
            self.agree(value)
            member.start = start
        if self.start is None:
            self.start = start
        member.time = time
        if new:
            member.lives.append(value)
        else:
            member.lives[-1] = value
        return True

    def agree(self, value):
        if self.kind == "histogram":
            self.bounds = value.bounds if self.bounds is None else tuple(b for b in self.bounds if b in value.bounds)
        elif self.kind == "exponential_histogram":
            self.scale = value.scale if self.scale is None else min(self.scale, value.scale)

    def point(self):
        """What goes out: start, time, then a number, or (count, sum, zeros, scale, bounds, sides)."""
        time = self.time
        if self.temporality != 1:
            if 0 <= self.sent - time <= HOUR:
                time = self.sent + MILLISECOND
            self.sent = time
            start = self.start
            lives = [life for member in self.members.values() for life in member.lives] + self.dead
        else:
            start = min((p.start_time_unix_nano for p in self.parts if p.start_time_unix_nano), default=0)
            lives = [exact(p) if self.kind == "sum" else Value(p, self.kind) for p in self.parts]
            self.bounds = self.scale = None
            if self.kind != "sum":
                for life in lives:
                    self.agree(life)
        if self.kind == "gauge":
            return start, time, exact(self.parts[0])
        if self.kind == "sum":
            return start, time, sum(lives)
        sides = [{}, {}]
        for life in lives:
            for side, more in zip(sides, life.at(self.bounds, self.scale), strict=True):
                for end, count in more.items():
                    side[end] = side.get(end, 0) + count
        sides = [{end: count for end, count in side.items() if count} for side in sides]
        if self.kind == "histogram" and not self.bounds:
            sides = [{}, {}]
        total = sum(life.count for life in lives), sum(life.sum for life in lives), sum(life.zeros for life in lives)
        return start, time, (*total, self.scale or 0, self.bounds or (), sides)


class Naive:
    def __init__(
        self, *, max_series=10**9, per_metric=0, values=0, action="overflow", label_action="drop_label", drop=()
    ):
        self.max_series, self.per_metric, self.values = max_series, per_metric, values
        self.action, self.label_action, self.drop = action, label_action, set(drop)
        self.epoch = 0
        self.admitted, self.aggregates, self.folded, self.seen = {}, {}, {}, {}

    def pass_epochs(self, count):
        """One by one, each with a look at everything."""
        for _ in range(count):
            self.epoch += 1
            self.admitted = {key: at for key, at in self.admitted.items() if self.epoch - at <= EPOCHS}
            self.seen = {key: at for key, at in self.seen.items() if self.epoch - at <= EPOCHS}
            for key, (aggregate, member) in list(self.folded.items()):
                age = self.epoch - aggregate.members[member].epoch
                if age > EPOCHS * (MEMBER_WINDOWS if aggregate.monotonic else 1):
                    self.release(key)
            for key, aggregate in list(self.aggregates.items()):
                if self.epoch - aggregate.epoch > EPOCHS * MEMBER_WINDOWS and not aggregate.members:
                    del self.aggregates[key]

    def release(self, key):
        aggregate, member = self.folded.pop(key)
        lives = aggregate.members.pop(member).lives
        if aggregate.monotonic:
            aggregate.dead += lives

    def limit(self, payload):
        """Of each metric that is left: its stream, the points that stay, and (labels, point, exemplars) of others."""
        out = []
        for resource in ExportMetricsServiceRequest.FromString(payload).resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    data = getattr(metric, metric.WhichOneof("data"))
                    kind = metric.WhichOneof("data")
                    temporality = 2 if kind == "summary" else getattr(data, "aggregation_temporality", 0)
                    stream = (
                        attributes(resource.resource), scope.scope.name, metric.name, metric.unit, kind, temporality,
                        getattr(data, "is_monotonic", False) if kind == "sum" else True,
                    )  # fmt: skip
                    touched, kept = {}, []
                    for point in data.data_points:
                        if self.judge(stream, point, touched):
                            kept.append(point)
                    made = [(a.labels, a.point(), a.exemplars) for a in touched.values() if a.changed]
                    for aggregate in touched.values():
                        aggregate.clear()
                    if kept or made or not data.data_points:
                        out.append((stream, kept, made))
        return out

    def judge(self, stream, point, touched):
        labels = attributes(point)
        key = stream, labels
        if key in self.admitted:
            self.admit(stream, labels)
            return True
        if key in self.folded:
            aggregate, member = self.folded[key]
            known = aggregate.members[member]
            begins = (
                known.start and point.start_time_unix_nano > known.start and point.start_time_unix_nano >= known.time
            )
            later = point.time_unix_nano > known.time
            if (begins or (later and not aggregate.monotonic)) and self.refusal(stream, labels) is None:
                self.release(key)
                if not aggregate.monotonic and aggregate.members:
                    touched[id(aggregate)] = aggregate
                    aggregate.changed = True
                    aggregate.time = max(aggregate.time, point.time_unix_nano)
                self.admit(stream, labels)
                return True
            self.fold(aggregate, key, member, point, touched)
            return False
        if key in self.aggregates:
            self.fold(self.aggregates[key], (stream, labels, "itself"), "itself", point, touched)
            return False
        if OVERFLOW[0] in labels:
            member = "itself" if labels == OVERFLOW else labels
            self.fold(self.overflow(stream), (stream, labels, "itself"), member, point, touched)
            return False
        refusal = self.refusal(stream, labels)
        if refusal is None:
            self.admit(stream, labels)
            return True
        action, offending = refusal
        if action == "drop":
            return False
        aggregate = self.reduced(stream, labels, offending) if action == "drop_label" else None
        self.fold(aggregate or self.overflow(stream), key, labels, point, touched)
        return False

    def refusal(self, stream, labels):
        name = stream[2]
        if self.values:
            over = set()
            for label in labels:
                known = [key for key in self.seen if key[:2] == (name, label[0])]
                if (name, *label) not in self.seen and len(known) >= self.values:
                    over.add(label)
            if over:
                return self.label_action, over
        mine = sum(key[0][2] == name for key in self.admitted)
        if (self.per_metric and mine >= self.per_metric) or len(self.admitted) >= self.max_series:
            return self.action, {label for label in labels if label[0] in self.drop}
        return None

    def admit(self, stream, labels):
        before = self.admitted.get((stream, labels))
        self.admitted[stream, labels] = self.epoch
        if before != self.epoch:
            self.seen.update({(stream[2], *label): self.epoch for label in labels})

    def overflow(self, stream):
        return self.aggregates.setdefault((stream, OVERFLOW), Aggregate(stream, OVERFLOW, False))

    def reduced(self, stream, labels, offending):
        rest = tuple(label for label in labels if label not in offending)
        key = stream, rest
        if rest == labels or key in self.admitted or key in self.folded:
            return None
        if key not in self.aggregates:
            made = sum(a.reduced and a.stream[2] == stream[2] for a in self.aggregates.values())
            if self.per_metric and made >= self.per_metric:
                return None
            self.aggregates[key] = Aggregate(stream, rest, True)
        return self.aggregates[key]

    def fold(self, aggregate, key, member, point, touched):
        touched[id(aggregate)] = aggregate
        aggregate.fold(member, point, self.epoch)
        if member in aggregate.members:
            self.folded[key] = aggregate, member

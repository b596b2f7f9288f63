"""The metrics that Butterfly exposes, by category: name, unit, type, attributes, and where the values come from.

`docs/butterfly-metrics.md` is this table as a page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from bench.generator.catalogue import Category

Kind = Literal["gauge", "counter", "up_down_counter", "histogram", "exponential_histogram", "summary"]
"""OpenTelemetry's instruments, as they stand on the wire: a gauge, a monotonic sum, a sum that isn't, and the three
distributions."""

NODES, LAYERS, ERROR_TYPES = 1000, 200, 50
"""What bounds Butterfly's cardinality."""


@dataclass(frozen=True, slots=True)
class FromSpans:
    """Fed by the spans of these names (empty: of every name), one measurement each.

    `amount`: `1`, the span's `duration`, or the attribute that holds the number. `only`: spans with this mark alone.
    """

    names: tuple[str, ...]
    amount: str = "1"
    only: Literal["", "error", "byzantine"] = ""


@dataclass(frozen=True, slots=True)
class Level:
    """Moves between the two bounds, anew in every report. Whole numbers when the bounds are."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Growth:
    """Grows steadily by about so much for every thousand spans that the system makes."""

    per_thousand: int


@dataclass(frozen=True, slots=True)
class Metric:
    """One entry. `attributes`: keys of its points' attributes; the node is in the resource. `exemplars`: its points
    carry one, a span that they count."""

    name: str
    category: Category
    kind: Kind
    unit: str
    about: str
    source: FromSpans | Level | Growth
    attributes: tuple[str, ...] = ()
    exemplars: bool = False


_LAYER, _GPU, _PEER = "butterfly.layer.index", "butterfly.gpu.index", "butterfly.comm.peer"
_MODEL, _STATUS, _ERROR = "butterfly.model", "status", "error.type"
_REQUEST = ("inference.request",)
_GIB = 1 << 30

_TABLE = (
    # request
    Metric("butterfly.request.count", "request", "counter", "{request}", "Requests answered.",
           FromSpans(_REQUEST), (_MODEL, _STATUS), exemplars=True),
    Metric("butterfly.request.errors", "request", "counter", "{error}", "Spans that failed, by error.",
           FromSpans((), only="error"), (_ERROR,), exemplars=True),
    Metric("butterfly.request.duration", "request", "histogram", "s", "From request to answer.",
           FromSpans(_REQUEST, "duration"), (_MODEL, _STATUS), exemplars=True),
    Metric("butterfly.request.tokens.input", "request", "counter", "{token}", "Tokens of prompts.",
           FromSpans(_REQUEST, "butterfly.request.tokens_in"), (_MODEL,)),
    Metric("butterfly.request.tokens.output", "request", "counter", "{token}", "Tokens of answers.",
           FromSpans(_REQUEST, "butterfly.request.tokens_out"), (_MODEL,)),
    Metric("butterfly.request.queue.duration", "request", "exponential_histogram", "s", "Until a request is scheduled.",
           FromSpans(("request.schedule",), "duration"), exemplars=True),
    Metric("butterfly.request.sampling.duration", "request", "summary", "s", "Choosing tokens.",
           FromSpans(("request.sample_token",), "duration")),
    Metric("butterfly.request.active", "request", "up_down_counter", "{request}", "Requests in flight.",
           Level(0, 64), (_MODEL,)),
    # consensus
    Metric("butterfly.consensus.proposals", "consensus", "counter", "{proposal}", "Proposals made.",
           FromSpans(("consensus.propose",)), (_STATUS,)),
    Metric("butterfly.consensus.votes", "consensus", "counter", "{vote}", "Votes given.",
           FromSpans(("consensus.vote", "consensus.request_vote")), (_STATUS,)),
    Metric("butterfly.consensus.commits", "consensus", "counter", "{entry}", "Entries committed.",
           FromSpans(("consensus.commit",)), (_STATUS,)),
    Metric("butterfly.consensus.elections", "consensus", "counter", "{election}", "Elections begun.",
           FromSpans(("consensus.elect_leader",)), (_STATUS,)),
    Metric("butterfly.consensus.heartbeats", "consensus", "counter", "{heartbeat}", "Heartbeats sent.",
           FromSpans(("consensus.heartbeat",))),
    Metric("butterfly.consensus.commit.duration", "consensus", "histogram", "s", "From proposal to commit.",
           FromSpans(("consensus.commit",), "duration"), (_STATUS,), exemplars=True),
    Metric("butterfly.consensus.term", "consensus", "gauge", "{term}", "The current term.", Level(80, 90)),
    Metric("butterfly.consensus.commit.lag", "consensus", "gauge", "{entry}", "Entries not yet committed.",
           Level(0, 40)),
    Metric("butterfly.consensus.log.entries", "consensus", "counter", "{entry}", "Entries appended.", Growth(90)),
    # computation
    Metric("butterfly.layer.executions", "computation", "counter", "{execution}", "Executions of a layer.",
           FromSpans(("layer.execute",)), (_LAYER,)),
    Metric("butterfly.layer.duration", "computation", "histogram", "s", "Execution of a layer.",
           FromSpans(("layer.execute",), "duration"), (_LAYER,), exemplars=True),
    Metric("butterfly.layer.attention.duration", "computation", "exponential_histogram", "s", "Attention.",
           FromSpans(("layer.attention",), "duration"), ("butterfly.tensor.dtype",)),
    Metric("butterfly.kernel.launches", "computation", "counter", "{launch}", "Kernels launched.",
           FromSpans(("kernel.launch",)), (_GPU,)),
    Metric("butterfly.cache.lookups", "computation", "counter", "{lookup}", "Lookups in the key-value cache.",
           FromSpans(("cache.lookup",))),
    Metric("butterfly.cache.evictions", "computation", "counter", "{eviction}", "Entries evicted from it.",
           FromSpans(("cache.evict",))),
    Metric("butterfly.layer.memory", "computation", "gauge", "By", "Device memory that a layer holds.",
           Level(_GIB // 4, 2 * _GIB), (_LAYER,)),
    Metric("butterfly.layer.cache.entries", "computation", "up_down_counter", "{entry}", "Cached keys of a layer.",
           Level(0, 65_536), (_LAYER,)),
    Metric("butterfly.layer.sparsity", "computation", "gauge", "1", "Share of a layer's activations that are zero.",
           Level(0.02, 0.6), (_LAYER,)),
    Metric("butterfly.compute.operations", "computation", "counter", "{operation}", "Floating-point operations, 10^9.",
           Growth(400_000), (_GPU,)),
    # communication
    Metric("butterfly.comm.sends", "communication", "counter", "{tensor}", "Tensors sent.",
           FromSpans(("comm.send_tensor",)), ("network.transport", _STATUS), exemplars=True),
    Metric("butterfly.comm.sent", "communication", "counter", "By", "Bytes of tensors sent.",
           FromSpans(("comm.send_tensor",), "butterfly.comm.bytes"), ("network.transport",)),
    Metric("butterfly.comm.received", "communication", "counter", "By", "Bytes of tensors received.",
           FromSpans(("comm.receive_tensor",), "butterfly.comm.bytes"), ("network.transport",)),
    Metric("butterfly.comm.send.duration", "communication", "histogram", "s", "Sending a tensor.",
           FromSpans(("comm.send_tensor",), "duration"), ("network.transport",), exemplars=True),
    Metric("butterfly.comm.tensor.size", "communication", "histogram", "By", "Size of a tensor on the wire.",
           FromSpans(("comm.send_tensor", "comm.receive_tensor"), "butterfly.comm.bytes"), ("network.transport",)),
    Metric("butterfly.comm.handshakes", "communication", "counter", "{handshake}", "Connections opened.",
           FromSpans(("comm.handshake",)), (_STATUS,)),
    Metric("butterfly.comm.connections", "communication", "up_down_counter", "{connection}", "Open connections.",
           Level(8, 64), ("network.transport",)),
    Metric("butterfly.comm.round_trip", "communication", "gauge", "s", "Round trip to a peer.",
           Level(0.0002, 0.08), (_PEER,)),
    Metric("butterfly.comm.packet_loss", "communication", "gauge", "1", "Share of packets to a peer that were lost.",
           Level(0.0, 0.02), (_PEER,)),
    Metric("butterfly.comm.io", "communication", "counter", "By", "Bytes on the wire to a peer.",
           Growth(8_000_000), (_PEER,)),
    Metric("butterfly.comm.retransmits", "communication", "counter", "{packet}", "Packets sent again.",
           Growth(30), (_PEER,)),
    # resource
    Metric("butterfly.resource.reservations", "resource", "counter", "{reservation}", "Reservations asked for.",
           FromSpans(("resource.reserve",)), ("butterfly.resource.kind", _STATUS)),
    Metric("butterfly.resource.allocated", "resource", "counter", "By", "Memory allocated.",
           FromSpans(("resource.allocate_memory",), "butterfly.resource.bytes"), ("butterfly.resource.kind",)),
    Metric("butterfly.resource.swap.duration", "resource", "exponential_histogram", "s", "Swapping weights.",
           FromSpans(("resource.swap_weights",), "duration")),
    Metric("butterfly.cpu.utilization", "resource", "gauge", "1", "Share of a core in use.",
           Level(0.02, 0.97), ("cpu.logical_number",)),
    Metric("butterfly.cpu.time", "resource", "counter", "s", "Seconds of CPU used.", Growth(700), ("cpu.mode",)),
    Metric("butterfly.memory.usage", "resource", "up_down_counter", "By", "Memory in use.",
           Level(20 * _GIB, 220 * _GIB), ("memory.state",)),
    Metric("butterfly.gpu.utilization", "resource", "gauge", "1", "Share of time that a GPU is busy.",
           Level(0.1, 1.0), (_GPU,)),
    Metric("butterfly.gpu.memory.usage", "resource", "up_down_counter", "By", "Memory of a GPU in use.",
           Level(4 * _GIB, 80 * _GIB), (_GPU,)),
    Metric("butterfly.gpu.temperature", "resource", "gauge", "Cel", "Temperature of a GPU.",
           Level(35.0, 88.0), (_GPU,)),
    Metric("butterfly.gpu.power", "resource", "gauge", "W", "Power that a GPU draws.", Level(60.0, 400.0), (_GPU,)),
    Metric("butterfly.disk.free", "resource", "gauge", "By", "Free space for checkpoints.",
           Level(200 * _GIB, 1800 * _GIB)),
    # checkpoint
    Metric("butterfly.checkpoint.created", "checkpoint", "counter", "{checkpoint}", "Checkpoints made.",
           FromSpans(("checkpoint.create",)), (_STATUS,)),
    Metric("butterfly.checkpoint.restored", "checkpoint", "counter", "{checkpoint}", "Checkpoints restored.",
           FromSpans(("checkpoint.restore",)), (_STATUS,)),
    Metric("butterfly.checkpoint.verified", "checkpoint", "counter", "{checkpoint}", "Checkpoints verified.",
           FromSpans(("checkpoint.verify",)), (_STATUS,)),
    Metric("butterfly.checkpoint.create.duration", "checkpoint", "histogram", "s", "Making a checkpoint.",
           FromSpans(("checkpoint.create",), "duration"), exemplars=True),
    Metric("butterfly.checkpoint.restore.duration", "checkpoint", "summary", "s", "Restoring a checkpoint.",
           FromSpans(("checkpoint.restore",), "duration")),
    Metric("butterfly.checkpoint.size", "checkpoint", "histogram", "By", "Size of a checkpoint.",
           FromSpans(("checkpoint.write",), "butterfly.checkpoint.bytes"), ("butterfly.checkpoint.incremental",)),
    Metric("butterfly.checkpoint.age", "checkpoint", "gauge", "s", "Since the last checkpoint.", Level(0.0, 600.0)),
    # coordination
    Metric("butterfly.task.assigned", "coordination", "counter", "{task}", "Tasks assigned.",
           FromSpans(("coordination.assign_task",)), ("butterfly.task.attempt",)),
    Metric("butterfly.task.accepted", "coordination", "counter", "{task}", "Tasks accepted.",
           FromSpans(("coordination.accept_task",)), (_STATUS,)),
    Metric("butterfly.task.rebalances", "coordination", "counter", "{rebalance}", "Reassignments of all tasks.",
           FromSpans(("coordination.rebalance",))),
    Metric("butterfly.queue.enqueued", "coordination", "counter", "{task}", "Tasks put into a queue.",
           FromSpans(("coordination.enqueue",)), ("butterfly.queue.name",)),
    Metric("butterfly.queue.dequeued", "coordination", "counter", "{task}", "Tasks taken out of it.",
           FromSpans(("coordination.dequeue",)), ("butterfly.queue.name",)),
    Metric("butterfly.barrier.duration", "coordination", "exponential_histogram", "s", "Waiting for the others.",
           FromSpans(("coordination.barrier",), "duration"), exemplars=True),
    Metric("butterfly.queue.depth", "coordination", "up_down_counter", "{task}", "Tasks in a queue.",
           Level(0, 300), ("butterfly.queue.name",)),
    Metric("butterfly.cluster.members", "coordination", "gauge", "{node}", "Nodes that this one knows of.",
           Level(960, 1000)),
    # byzantine
    Metric("butterfly.byzantine.faults", "byzantine", "counter", "{fault}", "Faults found, by type.",
           FromSpans((), only="byzantine"), ("butterfly.byzantine.fault_type",), exemplars=True),
    Metric("butterfly.byzantine.verifications", "byzantine", "counter", "{verification}", "Verifications made.",
           FromSpans(("byzantine.verify",)), ("butterfly.verification.result", "butterfly.verification.method"),
           exemplars=True),
    Metric("butterfly.byzantine.verify.duration", "byzantine", "histogram", "s", "Verifying a result.",
           FromSpans(("byzantine.verify",), "duration"), ("butterfly.verification.method",), exemplars=True),
    Metric("butterfly.byzantine.challenges", "byzantine", "counter", "{challenge}", "Challenges of a node.",
           FromSpans(("byzantine.challenge",)), (_STATUS,)),
    Metric("butterfly.byzantine.reputation", "byzantine", "gauge", "1", "What this node thinks of another.",
           Level(0.4, 1.0), ("butterfly.verification.subject",)),
    Metric("butterfly.byzantine.suspects", "byzantine", "up_down_counter", "{node}", "Nodes under suspicion.",
           Level(0, 5)),
)  # fmt: skip

METRICS: dict[str, Metric] = {metric.name: metric for metric in _TABLE}

EXPLODING = Metric(
    "butterfly.session.requests",
    "request",
    "counter",
    "{request}",
    "Requests of one session: a label that nobody should have.",
    Growth(1),
    ("session.id",),
)
"""Sent on request alone (`--explode`): one series a session."""

_PEERS = tuple(f"node-{number:03d}" for number in range(64))

DOMAINS: dict[str, tuple[str | int, ...]] = {
    _LAYER: tuple(range(LAYERS)),
    _GPU: tuple(range(8)),
    _PEER: _PEERS,
    "butterfly.verification.subject": _PEERS,
    _MODEL: ("bfly-70b-chat", "bfly-8b-instruct", "bfly-moe-8x22b"),
    "network.transport": ("quic", "tcp"),
    "cpu.logical_number": tuple(range(16)),
    "cpu.mode": ("user", "system", "iowait"),
    "memory.state": ("used", "cached"),
    "butterfly.queue.name": ("inference-default", "inference-batch", "checkpoint", "verification"),
}
"""Values of an attribute where no span says them."""

BOUNDS: dict[str, tuple[float, ...]] = {
    "s": (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 7.5, 10.0),
    "By": (1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11),
}
"""Upper bounds of the explicit histograms, by unit."""

SCALE = 2
"""Of the exponential histograms: four buckets to a doubling."""

QUANTILES = (0.5, 0.9, 0.99)
"""Of the summaries."""

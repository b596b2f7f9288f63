"""The spans that Butterfly makes, by category, and what each of them says about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Category = Literal[
    "request",
    "consensus",
    "computation",
    "communication",
    "resource",
    "checkpoint",
    "coordination",
    "byzantine",
]

INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = 1, 2, 3, 4, 5

SCOPES: dict[Category, tuple[str, str]] = {
    "request": ("butterfly.inference", "2.4.1"),
    "consensus": ("butterfly.consensus", "1.9.0"),
    "computation": ("butterfly.runtime", "2.4.1"),
    "communication": ("butterfly.transport", "0.31.2"),
    "resource": ("butterfly.resources", "1.2.0"),
    "checkpoint": ("butterfly.checkpoint", "1.4.3"),
    "coordination": ("butterfly.coordinator", "1.7.5"),
    "byzantine": ("butterfly.verification", "0.8.0"),
}
"""Instrumentation scope and its version, by category."""


@dataclass(frozen=True, slots=True)
class SpanName:
    """One entry of the catalogue. `children` lists what such a span may have below it; none: a leaf."""

    name: str
    category: Category
    kind: int = INTERNAL
    children: tuple[str, ...] = ()


_TABLE = (
    # request
    SpanName(
        "inference.request",
        "request",
        SERVER,
        (
            "request.validate",
            "request.tokenize",
            "request.schedule",
            "coordination.assign_task",
            "layer.execute",
            "layer.execute",
            "layer.execute",
            "pipeline.stage",
            "consensus.propose",
            "byzantine.verify",
            "request.sample_token",
            "request.respond",
        ),
    ),
    SpanName("request.validate", "request", children=("request.authenticate", "request.rate_limit")),
    SpanName("request.authenticate", "request", CLIENT),
    SpanName("request.rate_limit", "request"),
    SpanName("request.tokenize", "request"),
    SpanName("request.schedule", "request", PRODUCER, ("coordination.enqueue", "resource.reserve")),
    SpanName("request.sample_token", "request"),
    SpanName("request.detokenize", "request"),
    SpanName("request.respond", "request", children=("request.detokenize", "comm.stream_reply")),
    # consensus
    SpanName("consensus.propose", "consensus", CLIENT, ("consensus.vote", "consensus.vote", "consensus.commit")),
    SpanName("consensus.vote", "consensus", SERVER, ("consensus.append_log",)),
    SpanName("consensus.commit", "consensus", SERVER, ("consensus.append_log", "consensus.apply")),
    SpanName("consensus.append_log", "consensus"),
    SpanName("consensus.apply", "consensus"),
    SpanName("consensus.elect_leader", "consensus", CLIENT, ("consensus.request_vote", "consensus.request_vote")),
    SpanName("consensus.request_vote", "consensus", SERVER),
    SpanName("consensus.heartbeat", "consensus", CLIENT),
    SpanName("consensus.install_snapshot", "consensus", CLIENT, ("checkpoint.read",)),
    # computation
    SpanName("pipeline.stage", "computation", children=("layer.execute", "layer.execute", "comm.send_tensor")),
    SpanName(
        "layer.execute",
        "computation",
        children=(
            "layer.attention",
            "layer.feed_forward",
            "layer.normalise",
            "kernel.launch",
            "cache.lookup",
            "comm.send_tensor",
            "resource.allocate_memory",
        ),
    ),
    SpanName("layer.attention", "computation", children=("kernel.launch", "cache.lookup")),
    SpanName("layer.feed_forward", "computation", children=("kernel.launch",)),
    SpanName("layer.normalise", "computation"),
    SpanName("layer.embed", "computation"),
    SpanName("kernel.launch", "computation"),
    SpanName("cache.lookup", "computation", children=("cache.evict",)),
    SpanName("cache.evict", "computation"),
    # communication
    SpanName(
        "comm.send_tensor",
        "communication",
        CLIENT,
        ("comm.serialise_tensor", "comm.receive_tensor", "comm.compress_tensor"),
    ),
    SpanName("comm.receive_tensor", "communication", SERVER, ("comm.deserialise_tensor", "layer.execute")),
    SpanName("comm.serialise_tensor", "communication"),
    SpanName("comm.deserialise_tensor", "communication"),
    SpanName("comm.compress_tensor", "communication"),
    SpanName("comm.open_stream", "communication", CLIENT),
    SpanName("comm.handshake", "communication", CLIENT, ("comm.open_stream",)),
    SpanName("comm.stream_reply", "communication", SERVER),
    SpanName("comm.gossip", "communication", PRODUCER, ("comm.open_stream",)),
    # resource
    SpanName("resource.reserve", "resource", CLIENT, ("resource.allocate_memory",)),
    SpanName("resource.allocate_memory", "resource"),
    SpanName("resource.release", "resource"),
    SpanName("resource.swap_weights", "resource", children=("resource.allocate_memory", "checkpoint.read")),
    SpanName("resource.sample", "resource"),
    # checkpoint
    SpanName(
        "checkpoint.create",
        "checkpoint",
        children=("checkpoint.snapshot_state", "checkpoint.write", "checkpoint.verify", "consensus.propose"),
    ),
    SpanName("checkpoint.restore", "checkpoint", children=("checkpoint.read", "checkpoint.verify", "layer.embed")),
    SpanName("checkpoint.snapshot_state", "checkpoint"),
    SpanName("checkpoint.write", "checkpoint", CLIENT),
    SpanName("checkpoint.read", "checkpoint", CLIENT),
    SpanName("checkpoint.verify", "checkpoint"),
    SpanName("checkpoint.prune", "checkpoint"),
    # coordination
    SpanName(
        "coordination.assign_task",
        "coordination",
        CLIENT,
        ("coordination.accept_task", "coordination.enqueue"),
    ),
    SpanName("coordination.accept_task", "coordination", SERVER),
    SpanName("coordination.enqueue", "coordination", PRODUCER),
    SpanName("coordination.dequeue", "coordination", CONSUMER, ("layer.execute",)),
    SpanName("coordination.barrier", "coordination"),
    SpanName(
        "coordination.rebalance",
        "coordination",
        children=("coordination.assign_task", "resource.swap_weights"),
    ),
    SpanName("coordination.join", "coordination", CLIENT, ("comm.handshake", "checkpoint.restore")),
    # byzantine
    SpanName("byzantine.verify", "byzantine", children=("byzantine.recompute", "byzantine.compare_digest")),
    SpanName("byzantine.recompute", "byzantine", children=("layer.execute",)),
    SpanName("byzantine.compare_digest", "byzantine"),
    SpanName("byzantine.update_reputation", "byzantine"),
    SpanName("byzantine.challenge", "byzantine", CLIENT, ("byzantine.verify", "byzantine.update_reputation")),
)

SPANS: dict[str, SpanName] = {entry.name: entry for entry in _TABLE}

ROOTS: tuple[tuple[str, float], ...] = (
    ("inference.request", 0.72),
    ("checkpoint.create", 0.06),
    ("checkpoint.restore", 0.02),
    ("consensus.elect_leader", 0.02),
    ("consensus.install_snapshot", 0.02),
    ("coordination.rebalance", 0.03),
    ("coordination.join", 0.02),
    ("coordination.dequeue", 0.03),
    ("byzantine.challenge", 0.04),
    ("comm.gossip", 0.04),
)
"""What a trace of several spans begins with, and how often."""

SINGLES: tuple[str, ...] = (
    "consensus.heartbeat",
    "resource.sample",
    "resource.release",
    "checkpoint.prune",
    "coordination.barrier",
)
"""What a trace of one span is."""

FAULT_TYPES: tuple[str, ...] = (
    "equivocation",
    "double_vote",
    "invalid_tensor",
    "stale_checkpoint",
    "forged_signature",
    "withheld_result",
)

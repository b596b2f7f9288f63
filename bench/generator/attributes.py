"""What the spans and resources of Butterfly carry: values that look real, drawn from a seeded source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.generator.error_types import ERRORS

if TYPE_CHECKING:
    from random import Random

    from bench.generator.catalogue import Category

Value = str | int | float | bool
Attributes = dict[str, Value]

REQUEST_ID_KEY = "butterfly.request.id"
REQUEST_ID_PREFIX = "req-"
REQUEST_ID_BLANK = REQUEST_ID_PREFIX + "0" * 16
"""Written into the pre-built bytes and overwritten on every send with the last 8 bytes of the trace id, in
hex."""

_MODELS = ("bfly-70b-chat", "bfly-8b-instruct", "bfly-moe-8x22b")
_ROLES = ("butterfly-ingress", "butterfly-worker", "butterfly-worker", "butterfly-coordinator")
_FIRST = ("ana", "li", "omar", "ingrid", "tomas", "aiko", "maria", "sven")
_LAST = ("silva", "wei", "haddad", "larsen", "novak", "tanaka", "rossi", "berg")
_PROMPTS = (
    "Summarise my appointment with Dr. Hansen on Tuesday at 10:30",
    "Write to my landlord that the rent for May is late",
    "My card ends in 4242, why was I charged twice?",
    "Translate the letter from my daughter's school",
)


def node_name(sender: int) -> str:
    return f"node-{sender:03d}"


def resource_attributes(sender: int, random: Random) -> Attributes:
    """Of one node, which is one sender: ten, as an SDK on Kubernetes gives them."""
    role = _ROLES[sender % len(_ROLES)]
    return {
        "service.name": role,
        "service.namespace": "butterfly",
        "service.version": "2.4.1",
        "service.instance.id": f"{random.getrandbits(128):032x}",
        "butterfly.node.id": node_name(sender),
        "host.name": f"ip-10-20-{sender % 256}-{random.randrange(256)}.internal",
        "k8s.namespace.name": "butterfly-prod",
        "k8s.pod.name": f"{role}-{random.getrandbits(32):08x}-{random.getrandbits(20):05x}",
        "deployment.environment.name": "production",
        "telemetry.sdk.language": ("rust", "python", "go")[sender % 3],
    }


def _tensor(random: Random) -> str:
    return f"[{random.choice((1, 4, 8))},{random.choice((128, 512, 2048))},{random.choice((4096, 8192))}]"


def span_attributes(category: Category, peer: int, random: Random) -> Attributes:
    """Nine or ten of an ordinary span. None of them marks an error, a Byzantine fault or a person."""
    common: Attributes = {
        REQUEST_ID_KEY: REQUEST_ID_BLANK,
        "butterfly.model": random.choice(_MODELS),
        "thread.id": random.randrange(1, 400),
    }
    if category == "request":
        common |= {
            "http.request.method": "POST",
            "http.route": "/v1/completions",
            "http.response.status_code": 200,
            "butterfly.request.tokens_in": random.randrange(8, 4096),
            "butterfly.request.tokens_out": random.randrange(1, 1024),
            "server.port": 8443,
        }
    elif category == "consensus":
        common |= {
            "butterfly.consensus.term": random.randrange(1, 90),
            "butterfly.consensus.index": random.randrange(10**6, 10**7),
            "butterfly.consensus.leader": node_name(peer),
            "butterfly.consensus.quorum": 5,
            "rpc.system.name": "grpc",
            "rpc.method": "butterfly.Consensus/Append",
        }
    elif category == "computation":
        common |= {
            "butterfly.layer.index": random.randrange(200),
            "butterfly.layer.type": random.choice(("attention", "mlp", "moe", "norm")),
            "butterfly.tensor.shape": _tensor(random),
            "butterfly.tensor.dtype": random.choice(("bf16", "fp8", "fp16")),
            "butterfly.gpu.index": random.randrange(8),
            "butterfly.gpu.memory_bytes": random.randrange(10**9, 8 * 10**10),
        }
    elif category == "communication":
        common |= {
            "network.transport": random.choice(("quic", "tcp")),
            "network.peer.address": f"10.20.{peer % 256}.{random.randrange(256)}",
            "network.peer.port": 7443,
            "butterfly.comm.peer": node_name(peer),
            "butterfly.comm.bytes": random.randrange(10**4, 10**8),
            "butterfly.tensor.shape": _tensor(random),
        }
    elif category == "resource":
        common |= {
            "butterfly.resource.kind": random.choice(("gpu", "cpu", "memory")),
            "butterfly.resource.share": round(random.random(), 4),
            "butterfly.resource.bytes": random.randrange(10**6, 10**10),
            "butterfly.gpu.index": random.randrange(8),
            "butterfly.pool": "inference-a100",
            "butterfly.resource.granted": True,
        }
    elif category == "checkpoint":
        common |= {
            "butterfly.checkpoint.id": f"ckpt-{random.randrange(10**8):08d}",
            "butterfly.checkpoint.bytes": random.randrange(10**6, 10**11),
            "butterfly.checkpoint.shard": random.randrange(64),
            "butterfly.checkpoint.store": "s3-eu-north",
            "butterfly.checkpoint.digest": f"{random.getrandbits(64):016x}",
            "butterfly.checkpoint.incremental": random.random() < 0.8,
        }
    elif category == "coordination":
        common |= {
            "butterfly.task.id": f"task-{random.getrandbits(40):010x}",
            "butterfly.task.attempt": random.randrange(3),
            "butterfly.queue.name": "inference-default",
            "butterfly.queue.depth": random.randrange(300),
            "butterfly.task.assignee": node_name(peer),
            "butterfly.task.priority": random.randrange(10),
        }
    else:
        common |= {
            "butterfly.verification.subject": node_name(peer),
            "butterfly.verification.method": random.choice(("recompute", "digest", "spot_check")),
            "butterfly.verification.result": "passed",
            "butterfly.byzantine.detected": False,
            "butterfly.reputation": round(0.5 + random.random() / 2, 3),
            "butterfly.layer.index": random.randrange(200),
        }
    if random.random() < 0.25:
        common["code.function.name"] = f"{category}::{random.choice(('run', 'poll', 'step'))}"
    return common


def personal_attribute(random: Random) -> Attributes:
    """One value that a scrubber must find: of nobody who exists (documentation address ranges, example
    domain)."""
    first, last = random.choice(_FIRST), random.choice(_LAST)
    pick = random.randrange(5)
    if pick == 0:
        return {"user.email": f"{first}.{last}@example.com"}
    if pick == 1:
        return {"user.id": f"u-{random.randrange(10**7):07d}"}
    if pick == 2:
        return {"client.address": f"203.0.113.{random.randrange(1, 255)}"}
    if pick == 3:
        return {"enduser.id": f"{first}{random.randrange(100)}"}
    return {"gen_ai.prompt": f"{random.choice(_PROMPTS)}. Regards, {first.title()} {last.title()}"}


def failure(random: Random) -> tuple[str, str]:
    """Type and message of an error; some are much more frequent than others."""
    return ERRORS[int(random.random() ** 2 * len(ERRORS))]

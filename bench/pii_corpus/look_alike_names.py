"""Names that are put together with `_` and `-`, and hold what looks like PII and is none."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from bench.pii_corpus.look_alike_numbers import hexadecimal, random_moment, random_uuid

if TYPE_CHECKING:
    from random import Random

_NAMES = ("checkout", "inference", "tensor_shard", "auth-proxy", "layer", "web", "prod", "libssl", "node")
_SAFE = "bcdfghjklmnpqrstvwxz2456789"
"""What Kubernetes makes the random ends of names of."""


def versioned_name(rnd: Random) -> str:
    name = rnd.choice(_NAMES)
    version = ".".join(str(rnd.randrange(20)) for _ in range(4))
    return rnd.choice(
        (
            f"{name}_v{version}",
            f"{name}-v{version}-linux",
            f"{name}-{version}",
            f"{name}_{version}",
            f"{name}_{version}_amd64.deb",
            f"{name}-{version}-SNAPSHOT.jar",
            f"{name}-{version}.jar",
            f"{version}-beta",
            f"{version}_linux",
            f"release-{version}",
            f"version_{version}",
            f"firmware-{rnd.randrange(20)}.0.{rnd.randrange(99)}.{rnd.randrange(255)}",
        )
    )


def numbered_name(rnd: Random) -> str:
    name, number = rnd.choice(_NAMES), rnd.randrange(10**6)
    moment = random_moment(rnd)
    return rnd.choice(
        (
            f"{name}_{moment:%Y-%m-%d_%H-%M-%S}",
            f"{name}-{moment:%Y%m%d-%H%M%S}-{number}",
            f"{moment:%Y-%m-%d}-{name}",
            f"{moment:%Y%m%d_%H%M%S}_old",
            f"{name}-{rnd.randrange(1000):03d}-{number:06d}-x",
            f"{rnd.randrange(10**4):04d}-{number:06d}-{name}",
            f"{rnd.randrange(2, 99)}-best-ways-to-{name}-in-{moment:%Y}",
            f"part-{number:05d}-{random_uuid(rnd)}-c000.parquet",
            f"{name}_{number}_{rnd.randrange(10**9)}_{rnd.randrange(99)}",
            f"{rnd.randrange(10**12)}_{name}",
            f"{number}@{name}",
            f"{rnd.randrange(10**10)}-{name}@host",
        )
    )


def plain_name(rnd: Random) -> str:
    name = rnd.choice(_NAMES)
    end = "".join(rnd.choices(_SAFE, k=5))
    return rnd.choice(
        (
            f"sha_{hexadecimal(160, rnd)}",
            f"{name}-sha-{hexadecimal(256, rnd)}",
            f"{name}_sk_{hexadecimal(160, rnd)}",
            f"{name}-{''.join(rnd.choices(_SAFE, k=10))}-{end}",
            f"{name}-sk-learn-pipeline-step-{end}",
            f"task-sk-{hexadecimal(128, rnd)}",
            f"{name}_eyJob-{end}.yaml",
            f"_{base64.urlsafe_b64encode(rnd.randbytes(60)).decode()}_",
            f"{name}-ghp_{end}",
            f"{name}_hf_tokenizer_{end}",
            f"{name}-AKIA-{end}",
            f"{name}_AKIAlthough",
            f"xoxb_{name}-{end}",
            f"npm_config_{name}_{end}",
        )
    )


def build_file(rnd: Random) -> str:
    name = rnd.choice(_NAMES)
    return rnd.choice(
        (
            f"{name}@2x.min.png",
            f"{name}@2x.dark.svg",
            f"{name}@{rnd.randrange(9)}.{rnd.randrange(9)}.min.js",
            f"{name}@main.bundle.js",
            f"{name}@{rnd.randrange(99)}.tgz",
            f"{name}@next.tgz",
            f"{name}@{rnd.randrange(9)}.service",
            f"{name}@{hexadecimal(28, rnd)}.css",
            f"{name}@host.log",
            f"{name}@host.log.gz",
            f"{name}@host.log.1",
        )
    )

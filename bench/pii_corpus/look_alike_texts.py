"""Texts that look like PII and are none."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from bench.pii_corpus.look_alike_numbers import hexadecimal

if TYPE_CHECKING:
    from random import Random

_WORDS = (
    "checkout",
    "inference",
    "butterfly",
    "router",
    "tensor",
    "shard",
    "cache",
    "worker",
    "auth",
    "gateway",
    "layer",
)
_HOSTS = ("node-017.dc2.example.com", "api.internal", "ip-10-20-3-44.ec2.internal", "cache.prod.svc.cluster.local:6379")
_EXTENSIONS = ("png", "jpg", "webp", "svg")


def host(rnd: Random) -> str:
    return rnd.choice(
        (
            *_HOSTS,
            f"{rnd.choice(_WORDS)}-{rnd.randrange(99)}.example.com",
            f"localhost:{rnd.randrange(1, 65536)}",
            "0.0.0.0:4317",
            "127.0.0.1",
            "[::1]:4317",
            "255.255.255.0",
            "10.20.0.0/16",
            "2001:db8::/32",
        )
    )


def mac(rnd: Random) -> str:
    pairs = [f"{rnd.randrange(256):02x}" for _ in range(6)]
    eight = [*pairs, "ff", "fe"]
    return rnd.choice(
        (
            ":".join(pairs),
            "-".join(pairs).upper(),
            f"mac={':'.join(pairs)}",
            ":".join(eight),
            "".join(pairs),
            f"{pairs[0]}{pairs[1]}.{pairs[2]}{pairs[3]}.{pairs[4]}{pairs[5]}",
        )
    )


def blob(rnd: Random) -> str:
    raw = rnd.randbytes(rnd.randrange(12, 120))
    return rnd.choice(
        (
            base64.b64encode(raw).decode(),
            base64.urlsafe_b64encode(raw).decode(),
            f'etag="{raw.hex()[:32]}"',
            base64.b64encode(b'{"page":2,"after":' + raw.hex().encode()).decode(),
        )
    )


def file_name(rnd: Random) -> str:
    word = rnd.choice(_WORDS)
    return rnd.choice(
        (
            f"{word}@2x.{rnd.choice(_EXTENSIONS)}",
            f"/img/{word}@3x.{rnd.choice(_EXTENSIONS)}",
            f"icon@1.5x.{rnd.choice(_EXTENSIONS)}",
            f"getty@tty{rnd.randrange(9)}.service",
            "user@1000.service",
            f"/var/log/{word}.{rnd.randrange(9)}.log.gz",
            f"@{word}.route",
            f"{word}.py:{rnd.randrange(999)}",
            f"/usr/lib/{word}-{rnd.randrange(99)}.so.{rnd.randrange(9)}",
            f"{word}@localhost",
        )
    )


def remote(rnd: Random) -> str:
    word, other = rnd.choice(_WORDS), rnd.choice(_WORDS)
    return rnd.choice(
        (
            f"git@github.com:{word}/{other}.git",
            f"deploy@git.example.com:{word}/{other}.git",
            f"{word}@sha256:{hexadecimal(256, rnd)}",
            f"ssh://git@gitlab.example.com/{word}/{other}.git",
            f"git+ssh://git@github.com/{word}/{other}",
        )
    )


def tensor(rnd: Random) -> str:
    sides = [str(rnd.choice((1, 2, 4, 8, 16, 32, 64, 128, 512, 2048, 4096, 8192))) for _ in range(rnd.randrange(2, 6))]
    return rnd.choice(
        (
            f"[{','.join(sides)}]",
            f"({', '.join(sides)})",
            "x".join(sides),
            f"[{' '.join(sides)}]",
            f"shape={sides} dtype=bf16",
            f"torch.Size([{', '.join(sides)}])",
        )
    )


def pod(rnd: Random) -> str:
    name = f"{rnd.choice(_WORDS)}-{hexadecimal(32, rnd)}-{hexadecimal(20, rnd)}"
    return rnd.choice(
        (
            name,
            f"default/{name}",
            f"{rnd.choice(_WORDS)}-{rnd.randrange(100)}",
            f"pod={name} ns=prod",
            f"arn:aws:eks:eu-west-1:{rnd.randrange(10**11, 10**12)}:cluster/{rnd.choice(_WORDS)}",
        )
    )


def code(rnd: Random) -> str:
    word = rnd.choice(_WORDS)
    return rnd.choice(
        (
            f"std::{word}::push_back",
            "collections::HashMap",
            f"face::{word}",
            "dead::beef",
            f"{word}[1::2]",
            f"10:30:{rnd.randrange(60):02d}",
            f"{word}: token limit reached",
            f"{word}.tokens={rnd.randrange(9999)}",
            "Bearer token is missing",
            "password: required field",
            "invalid password for user",
            "password=null",
            "token=***",
            "secret: <redacted>",
            f"max_token={rnd.randrange(999)}",
            f"sk-learn-{word}-pipeline-step",
            f"task-{word}-eyJob",
            "-----BEGIN CERTIFICATE-----",
            "-----BEGIN PUBLIC KEY-----",
            f"rows of {word} where id = {rnd.randrange(10**6)} limit 10",
            f"{word} 404 {rnd.randrange(999)} {rnd.randrange(9999)} 12",
            f"<{word}@{hexadecimal(32, rnd)}>",
            f"com.example.{word.title()}@{hexadecimal(32, rnd)}",
            "AKIAlthough",
            "password=${DB_PASSWORD}",
        )
    )

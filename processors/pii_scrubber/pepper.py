"""The secret of the hashes: where it comes from, and the HMAC-SHA256 made with it."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from processors.pii_scrubber.options import PepperOptions, PiiScrubberOptions

FEWEST_BYTES = 16
_MOST_BYTES = 4096
_BLOCK = 64
"""Bytes of a block of SHA-256."""
_MISSING = (
    "user identifiers are to be hashed and there is no secret to do it with: set pepper "
    '(say "${env:BUTTERFLY_PEPPER}", from `openssl rand -hex 32`) or pepper_file, or '
    "ephemeral_pepper: true, whose hashes agree within one process's life alone"
)
_EPHEMERAL = os.urandom(32)
"""One for the process, so that all scrubbers in it agree."""

Path_ = tuple[str | int, ...]


class PepperError(Exception):
    """The pepper can't be had. The message names no path and holds nothing of the file."""


class Pepper:
    """One secret. `digest(value)` is 32 bytes; equal values give equal digests wherever they stand."""

    def __init__(self, key_id: str, secret: bytes) -> None:
        if len(secret) < FEWEST_BYTES:
            raise PepperError(f"the pepper has fewer than {FEWEST_BYTES} bytes")
        self.prefix = f"{key_id}:".encode()
        key = (sha256(secret).digest() if len(secret) > _BLOCK else secret).ljust(_BLOCK, b"\0")
        self._inner = sha256(bytes(byte ^ 0x36 for byte in key))
        self._outer = sha256(bytes(byte ^ 0x5C for byte in key))

    def digest(self, value: bytes) -> bytes:
        """HMAC-SHA256 of the value (RFC 2104), from states that hold the key already: half of `hmac.digest`'s cost."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(value)
        outer.update(inner.digest())
        return outer.digest()


def current(config: PiiScrubberOptions) -> Pepper:
    """The pepper that `config` names. Reads its file, where it is in one. Raises `PepperError`."""
    secret, file = _sources(config)
    if file:
        return Pepper(config.key_id, _read(file))
    if secret or not config.ephemeral_pepper:
        return Pepper(config.key_id, secret.encode())
    return Pepper(config.key_id, _EPHEMERAL)


def is_in_file(config: PiiScrubberOptions) -> bool:
    """Whether `current` reads a file."""
    return bool(_sources(config)[1])


def problems(config: PiiScrubberOptions, *, needed: bool) -> list[tuple[Path_, str]]:
    """What is wrong with the peppers; that there is none, where hashes are `needed`."""
    found: list[tuple[Path_, str]] = []
    if config.peppers and (config.pepper.get_secret_value() or config.pepper_file):
        found.append((("peppers",), "expected peppers, or pepper or pepper_file, but not both"))
    seen: set[str] = set()
    for number, one in enumerate(config.peppers):
        found += _problems_of(one, ("peppers", number))
        if not (one.pepper.get_secret_value() or one.pepper_file):
            found.append((("peppers", number), "expected pepper or pepper_file"))
        if one.key_id in seen:
            found.append((("peppers", number, "key_id"), "is the name of another pepper already"))
        seen.add(one.key_id)
    if config.peppers and config.key_id not in seen:
        found.append((("key_id",), "is none of the peppers' names"))
    if not config.peppers:
        found += _problems_of(config, ())
        if needed and not any(_sources(config)) and not config.ephemeral_pepper:
            found.append(
                (
                    ("pepper",),
                    _MISSING,
                )
            )
    return found


def _problems_of(one: PiiScrubberOptions | PepperOptions, path: Path_) -> list[tuple[Path_, str]]:
    secret = one.pepper.get_secret_value()
    if secret and one.pepper_file:
        return [((*path, "pepper_file"), "expected pepper or pepper_file, but not both")]
    if secret and len(secret.encode()) < FEWEST_BYTES:
        return [((*path, "pepper"), f"expected {FEWEST_BYTES} bytes at least: a short secret can be guessed")]
    return []


def _sources(config: PiiScrubberOptions) -> tuple[str, str]:
    """The current secret and the file it is in; at most one of them isn't empty."""
    one: PiiScrubberOptions | PepperOptions = next(
        (each for each in config.peppers if each.key_id == config.key_id), config
    )
    return one.pepper.get_secret_value(), one.pepper_file


def _read(file: str) -> bytes:
    try:
        with Path(file).open("rb") as stream:
            secret = stream.read(_MOST_BYTES + 1).strip()
    except OSError as error:
        raise PepperError(f"the pepper's file can't be read ({type(error).__name__})") from None
    if len(secret) > _MOST_BYTES:
        raise PepperError(f"the pepper's file has more than {_MOST_BYTES} bytes")
    return secret

"""TLS files of the options, read and checked before anything connects."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from collector.api import ConfigError

if TYPE_CHECKING:
    from exporters.otlp.options import TlsOptions


def read_file(name: str, option: str) -> bytes | None:
    """The content of the file that `option` names; None when it names none. Raises `ConfigError`."""
    if not name:
        return None
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise ConfigError([f"tls.{option} can't be read: {error.strerror}"]) from None


def client_context(tls: TlsOptions) -> ssl.SSLContext:
    """How a client with these options does TLS. Raises `ConfigError` when a file can't be read or used."""
    authorities = read_file(tls.ca_file, "ca_file")
    read_file(tls.cert_file, "cert_file")
    read_file(tls.key_file, "key_file")
    try:
        text = None if authorities is None else authorities.decode("ascii")
        context = ssl.create_default_context(cadata=text)
        if tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file or None)
    except (ssl.SSLError, ValueError):
        raise ConfigError(["tls: a file holds no usable certificate or key in PEM"]) from None
    if tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context

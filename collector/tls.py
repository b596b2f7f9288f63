"""TLS as a client: the options, with the Collector's names, and the context that they ask for."""

from __future__ import annotations

import ssl
from pathlib import Path

from collector.errors import ConfigError
from collector.options import Options, option


class ClientTlsOptions(Options):
    """`tls`: how the server is recognised, and how it recognises us."""

    insecure: bool = option(False, about="Plaintext.")
    insecure_skip_verify: bool = option(False, about="Encrypt, but trust any certificate.")
    ca_file: str = option("", about="PEM file of the authorities to trust; the system's when empty.")
    cert_file: str = option("", about="PEM file of our certificate, for mutual TLS.")
    key_file: str = option("", about="PEM file of its key.")
    server_name_override: str = option("", about="Name to expect in the server's certificate.")

    @property
    def configured(self) -> bool:
        """Whether anything asks for encryption."""
        return bool(
            self.insecure_skip_verify or self.ca_file or self.cert_file or self.key_file or self.server_name_override
        )


def client_context(tls: ClientTlsOptions) -> ssl.SSLContext:
    """How a client with these options does TLS; the name to expect is for the caller to give when it connects.

    Reads files, so call it in a thread. Raises `ConfigError` when one of them can't be read or used.
    """
    authorities = _content(tls.ca_file, "ca_file")
    _content(tls.cert_file, "cert_file")
    _content(tls.key_file, "key_file")
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


def _content(name: str, key: str) -> bytes | None:
    if not name:
        return None
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise ConfigError([f"tls.{key} can't be read: {error.strerror}"]) from None

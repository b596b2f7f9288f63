"""The effective configuration as YAML: defaults filled in, secrets hidden.

Hidden are: fields of type `Secret`; values from `${file:...}`, from variables that fill a `Secret` anywhere,
and from variables with a name like a secret's; the password of a URL; and every text that holds one of these.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, SecretBytes, SecretStr

from collector.config.document import typed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from collector.config.model import GatewayConfig
    from collector.config.problems import Path
    from collector.config.substitution import Expansion

REDACTED = "[REDACTED]"
_SECRET_NAME = re.compile(r"pass|pwd|secret|token|key|cred|pepper|salt|auth|cert|dsn|cookie|sign", re.IGNORECASE)
_USERINFO = re.compile(r"(?<=://)[^/@\s]*:[^/@\s]*(?=@)")
_SHORTEST = 4
"""Secrets shorter than this are hidden where they stand, but not looked for in other texts."""


def to_yaml(config: GatewayConfig) -> str:
    """The effective configuration. Reading it back gives the same one, but for what is `[REDACTED]`."""
    tree: dict[str, Any] = {}
    for kind, specs in config.components.items():
        if specs:
            tree[kind.value] = {spec.id: _dump(spec.config) for spec in specs.values()}
    service = _dump(config.service)
    service["pipelines"] = {
        name: {key: list(getattr(spec, key)) for key in ("receivers", "processors", "exporters")}
        for name, spec in config.pipelines.items()
    }
    tree["service"] = service
    return yaml.dump(_Redactor(tree, config).redact(tree, ()), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _dump(options: BaseModel) -> dict[str, Any]:
    return options.model_dump(mode="python", by_alias=True)


class _Redactor:
    def __init__(self, tree: dict[str, Any], config: GatewayConfig) -> None:
        fields = dict(_secret_fields(tree, ()))
        sources = {
            source
            for path, origin in config.origins.items()
            for source in origin.sources
            if path in fields or source.startswith("${file:") or _SECRET_NAME.search(source)
        }
        self._origins: dict[Path, Expansion] = {
            path: origin for path, origin in config.origins.items() if sources.intersection(origin.sources)
        }
        texts = {*fields.values(), *(origin.text for origin in self._origins.values())}
        self._texts = sorted((text for text in texts if len(text) >= _SHORTEST), key=len, reverse=True)

    def redact(self, value: Any, path: Path) -> Any:
        if isinstance(value, SecretStr | SecretBytes):
            return REDACTED if value.get_secret_value() else ""
        if isinstance(value, dict):
            return {str(key): self.redact(item, (*path, str(key))) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            ordered = sorted(value) if isinstance(value, set | frozenset) else value
            return [self.redact(item, (*path, at)) for at, item in enumerate(ordered)]
        if path in self._origins:
            return REDACTED
        if isinstance(value, bool | int | float) or value is None:
            return value
        return self._hide(str(value.value if isinstance(value, Enum) else value))

    def _hide(self, text: str) -> str:
        for secret in self._texts:
            text = text.replace(secret, REDACTED)
        return _USERINFO.sub(REDACTED, text)


def _secret_fields(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, SecretStr | SecretBytes):
        secret = value.get_secret_value()
        yield path, secret.decode(errors="replace") if isinstance(secret, bytes) else secret
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _secret_fields(item, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for at, item in enumerate(value):
            yield from _secret_fields(item, (*path, at))


class _Dumper(yaml.SafeDumper):
    """Doubles every dollar sign, so that what is printed can be read back."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # PyYAML writes YAML 1.1, where some numbers of 1.2 are texts (1e5): those need quotes.
    style = None if isinstance(typed(text), str) else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text.replace("$", "$$"), style=style)


_Dumper.add_representer(str, _text)

"""Personal data and credentials, made up and planted in every field that the descriptors of OTLP know of.

No text is planted twice, so that whatever is found again says where it came from.
"""

from __future__ import annotations

import base64
import json
import string
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.descriptor import Descriptor, FieldDescriptor
    from google.protobuf.message import Message

REQUESTS = {
    "traces": ExportTraceServiceRequest,
    "metrics": ExportMetricsServiceRequest,
    "logs": ExportLogsServiceRequest,
}
ID_SIZES = {"trace_id": 16, "span_id": 8, "parent_span_id": 8}
"""Fields that no scrubber may touch: what telemetry is joined by. By the message's own name none else has them."""
START_NS = 1_700_000_000_000_000_000
DEEPEST = 2
"""Lists and maps within an attribute's list or map; what is planted in those are texts alone."""

Made = tuple[str, tuple[str, ...]]
"""What is planted, and the parts of it that nobody may see again."""


@dataclass(frozen=True, slots=True)
class Canary:
    """One planted value. `field` leads to it from the request; several fields of a kind differ in their values."""

    kind: str
    field: str
    text: str


# -- the kinds that docs/components/pii_scrubber.md promises to find anywhere


def _letters(rnd: Random, size: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    return "a1Z" + "".join(rnd.choices(alphabet, k=size - 3))


def _digits(rnd: Random, size: int) -> str:
    return "".join(rnd.choices(string.digits, k=size))


def _email(rnd: Random) -> Made:
    name = f"{rnd.choice(('ann', 'zoë', 'o-neill'))}.{rnd.randbytes(5).hex()}"
    return f"{name}@{rnd.choice(('mail.example.org', 'example.com'))}", (name,)


def _phone(rnd: Random) -> Made:
    number = rnd.choice((f"+1 (415) {rnd.randrange(200, 999)}-{_digits(rnd, 4)}", f"+49 151 {_digits(rnd, 8)}"))
    return number, (number,)


def _card(rnd: Random) -> Made:
    body = "4" + _digits(rnd, 14)
    check = -sum(sum(divmod(int(digit) * (2 - at % 2), 10)) for at, digit in enumerate(body)) % 10
    number = f"{body}{check}"
    written = rnd.choice(("", " ", "-")).join(number[at : at + 4] for at in range(0, 16, 4))
    return written, (written,)


def _iban(rnd: Random) -> Made:
    account = _digits(rnd, 18)
    number = f"DE{98 - int(account + '131400') % 97:02}{account}"
    written = rnd.choice(("", " ")).join(number[at : at + 4] for at in range(0, 22, 4))
    return written, (written,)


def _ipv4(rnd: Random) -> Made:
    text = f"198.{rnd.randrange(100, 255)}.{rnd.randrange(100, 255)}.{rnd.randrange(100, 255)}"
    return text, (text,)


def _ipv6(rnd: Random) -> Made:
    machine = ":".join(f"{rnd.randrange(0x1000, 0x10000):x}" for _ in range(5))
    return f"2001:db8:{rnd.randrange(0x1000, 0x10000):x}:{machine}", (machine,)


def _cloud_key(rnd: Random) -> Made:
    secret = "".join(rnd.choices(string.ascii_uppercase + "234567", k=16))
    return f"AKIA{secret}", (secret,)


def _api_key(rnd: Random) -> Made:
    secret = _letters(rnd, 36)
    return f"{rnd.choice(('ghp_', 'glpat-', 'sk_live_', 'sk-'))}{secret}", (secret,)


def _jwt(rnd: Random) -> Made:
    def part(content: bytes) -> str:
        return base64.urlsafe_b64encode(content).decode().rstrip("=")

    claims = part(json.dumps({"sub": rnd.randbytes(8).hex()}).encode())
    signature = part(rnd.randbytes(32))
    return f"{part(json.dumps({'alg': 'HS256', 'typ': 'JWT'}).encode())}.{claims}.{signature}", (claims, signature)


def _private_key(rnd: Random) -> Made:
    lines = tuple(base64.b64encode(rnd.randbytes(36)).decode() for _ in range(2))
    return "\n".join(("-----BEGIN PRIVATE KEY-----", *lines, "-----END PRIVATE KEY-----")), lines


def _secret(rnd: Random) -> Made:
    secret = _letters(rnd, 20)
    form = rnd.choice(
        ("password={}", "Authorization: Bearer {}", "api_key: {}", "postgresql://ana:{}@db.example.com/x")
    )
    return form.format(secret), (secret,)


ANYWHERE: dict[str, Callable[[Random], Made]] = {
    "email": _email,
    "phone": _phone,
    "card": _card,
    "iban": _iban,
    "ipv4": _ipv4,
    "ipv6": _ipv6,
    "cloud_key": _cloud_key,
    "api_key": _api_key,
    "jwt": _jwt,
    "private_key": _private_key,
    "secret": _secret,
}
AROUND = (
    "{}", "he wrote {} to us", '{{"m":"{}"}}', "[{}]", "a;{}", "prod_{}", "prod-{}", "_{}_", "{}_old", "{}-old",
    "{}@host", "file_{}.txt",
)  # fmt: skip
"""What may stand around a value; no comma, which parts the members of a tracestate."""

# -- those that it promises by the attribute's key


def _word(rnd: Random) -> Made:
    word = f"plain-{rnd.randbytes(6).hex()}"
    return word, (word,)


BY_KEY: dict[str, tuple[str, ...]] = {
    "user": (
        "user.id", "user_id", "user.name", "user.email", "enduser.id", "enduser.pseudo.id", "session.id", "device.id",
        "gen_ai.conversation.id", "butterfly.user.id",
    ),
    "input": (
        "gen_ai.prompt", "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.tool.call.arguments", "llm.prompt",
        "input.text", "input.value", "butterfly.input.text",
    ),
    "client": ("client.address", "source.address", "http.request.header.x-forwarded-for"),
    "tensor": ("butterfly.tensor.values", "tensor.data", "layer.7.tensor.values"),
    "credential": (
        "http.request.header.authorization", "http.request.header.cookie", "db.password", "aws_secret", "llm.api_key",
        "access_token", "db.query.parameter.name",
    ),
}  # fmt: skip
KINDS = (*ANYWHERE, *BY_KEY)


class Canaries:
    """Makes values, all of them different, and remembers where each one went. `parts`: what is looked for later."""

    def __init__(self, seed: int) -> None:
        self._rnd = Random(seed)
        self.parts: dict[bytes, Canary] = {}

    def make(self, kind: str, field: str) -> str:
        """A new value of `kind`, with something around it where the kind is found anywhere."""
        maker = ANYWHERE.get(kind, _word)
        text, parts = maker(self._rnd)
        while any(part.lower().encode() in self.parts for part in parts):
            text, parts = maker(self._rnd)
        canary = Canary(kind, field, text)
        self.parts.update((part.lower().encode(), canary) for part in parts)
        return text if kind in BY_KEY else self._rnd.choice(AROUND).format(text)

    def request(self, signal: str, *, mark: int, copies: int = 2) -> Message:
        """Canaries of every kind in every field, and of those that need a key under their keys. `mark` is the first
        byte of all trace ids."""
        request = REQUESTS[signal]()
        (resources,) = request.DESCRIPTOR.fields
        for kind in KINDS:
            for _ in range(copies):
                _Planter(kind, self, mark).fill(getattr(request, resources.name).add(), signal)
        return request


class _Planter:
    """Fills a message with canaries of one kind: each field, each member of a oneof in a copy of its own."""

    def __init__(self, kind: str, canaries: Canaries, mark: int) -> None:
        self._kind = kind
        self._canaries = canaries
        self._keys = BY_KEY.get(kind, ())
        self._rnd = Random(repr((kind, mark, len(canaries.parts))))
        self._trace_id = bytes([mark]) + self._rnd.randbytes(15)

    def fill(self, message: Message, path: str, *, choice: int = 0, depth: int = 0, ruled: bool = False) -> None:
        """`choice`: which member of a oneof. `depth`: how many lists and maps are around. `ruled`: a key rule holds."""
        chosen = alternatives(message.DESCRIPTOR, depth)
        for field in message.DESCRIPTOR.fields:
            place = f"{path}.{field.name}"
            if _in_oneof(field) and not (chosen and field is chosen[choice % len(chosen)]):
                continue
            if field.name in ID_SIZES:
                size = ID_SIZES[field.name]
                setattr(message, field.name, self._trace_id if size == 16 else self._rnd.randbytes(size))
            elif field.name.endswith("time_unix_nano"):
                setattr(message, field.name, START_NS)
            elif field.message_type is not None:
                self._fill_in(message, field, place, choice, depth, ruled or _has_rule(message, self._keys))
            elif field.type in (field.TYPE_STRING, field.TYPE_BYTES):
                self._write(message, field, place, choice, depth, ruled)

    def _fill_in(
        self, message: Message, field: FieldDescriptor, place: str, choice: int, depth: int, ruled: bool
    ) -> None:
        inner = depth + (field.message_type.name in ("ArrayValue", "KeyValueList"))
        child = getattr(message, field.name)
        if not field.is_repeated:
            child.SetInParent()
            self.fill(child, place, choice=choice, depth=inner, ruled=ruled)
            return
        for number in range(copies_of(field.message_type, inner)):
            self.fill(child.add(), place, choice=number, depth=inner, ruled=ruled)

    def _write(
        self, message: Message, field: FieldDescriptor, place: str, choice: int, depth: int, ruled: bool
    ) -> None:
        if field.name == "key":
            message.key = self._key(place, choice, depth, ruled)
            return
        texts = [self._text(place, ruled) for _ in range(2 if field.is_repeated else 1)]
        # bytes need not be UTF-8
        values = (
            [self._rnd.choice((b"", b"\xff\xfe")) + text.encode() for text in texts]
            if field.type == field.TYPE_BYTES
            else texts
        )
        if field.is_repeated:
            getattr(message, field.name).extend(values)
        else:
            setattr(message, field.name, values[0])

    def _key(self, place: str, choice: int, depth: int, ruled: bool) -> str:
        if not self._keys:
            return self._canaries.make(self._kind, place) if choice % 2 == 0 else "note"
        # A map stands under a key without a rule, so that the keys inside of it decide; unless it is the innermost.
        if ruled or (choice == 3 and depth < DEEPEST):
            return "context"
        return self._rnd.choice(self._keys)

    def _text(self, place: str, ruled: bool) -> str:
        if self._keys and not ruled:
            return "layer.execute"
        return self._canaries.make(self._kind, place)


def alternatives(descriptor: Descriptor, depth: int = 0) -> list[FieldDescriptor]:
    """Those members of the message's oneof that are, or lead to, a string or bytes."""
    members = [
        field
        for field in descriptor.fields
        if _in_oneof(field) and (field.message_type is not None or field.type in (field.TYPE_STRING, field.TYPE_BYTES))
    ]
    if descriptor.name == "AnyValue" and depth >= DEEPEST:
        return [field for field in members if field.message_type is None]
    return members


def _in_oneof(field: FieldDescriptor) -> bool:
    """Whether it excludes others; an `optional` field is alone in a oneof."""
    return field.containing_oneof is not None and len(field.containing_oneof.fields) > 1


def copies_of(descriptor: Descriptor, depth: int = 0) -> int:
    """How many of a repeated message it takes until each member of a oneof in it has had its turn."""
    singular = [field.message_type for field in descriptor.fields if field.message_type and not field.is_repeated]
    return max(1, len(alternatives(descriptor, depth)), *(len(alternatives(each, depth)) for each in singular))


def _has_rule(message: Message, keys: tuple[str, ...]) -> bool:
    return message.DESCRIPTOR.name == "KeyValue" and message.key in keys

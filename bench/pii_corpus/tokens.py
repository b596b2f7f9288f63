"""Credentials in their vendors' forms; none was ever issued."""

from __future__ import annotations

import base64
import json
import string
from typing import TYPE_CHECKING

from bench.pii_corpus.example import Value

if TYPE_CHECKING:
    from random import Random

_UPPER = string.ascii_uppercase + string.digits
_ALNUM = string.ascii_letters + string.digits
_URL_SAFE = _ALNUM + "-_"
_HEX = "0123456789abcdef"
_WORDS = ("butterfly", "falcon", "Sommer", "correct", "hunter", "Tr0ub4dor", "кошка", "qwerty", "blue-sky")


def _some(alphabet: str, count: int, rnd: Random) -> str:
    text = "".join(rnd.choices(alphabet, k=count))
    # the ends are no punctuation, as with most real ones
    return (
        rnd.choice(_ALNUM if "g" in alphabet else alphabet)
        + text[1:-1]
        + rnd.choice(_ALNUM if "g" in alphabet else alphabet)
    )


def _segment(content: dict[str, object]) -> str:
    raw = json.dumps(content, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def jwt(rnd: Random) -> Value:
    algorithm, size = rnd.choice(
        (
            ("HS256", 32),
            ("HS384", 48),
            ("HS512", 64),
            ("RS256", 256),
            ("ES256", 64),
            ("PS512", 512),
            ("EdDSA", 64),
            ("none", 0),
        )
    )
    header: dict[str, object] = {"alg": algorithm}
    if rnd.random() < 0.7:
        header["typ"] = rnd.choice(("JWT", "at+jwt"))
    if rnd.random() < 0.4:
        header["kid"] = _some(_URL_SAFE, rnd.choice((8, 20, 43)), rnd)
    if rnd.random() < 0.1:
        header["x5t"] = _some(_URL_SAFE, 27, rnd)
    if rnd.random() < 0.5:
        header = dict(reversed(header.items()))
    payload: dict[str, object] = {"sub": str(rnd.randrange(10**9)), "iat": 1_700_000_000 + rnd.randrange(10**8)}
    if rnd.random() < 0.5:
        payload |= {"iss": "https://id.example.com", "scope": "read write", "name": "Ana Silva"}
    parts = [_segment(header), _segment(payload)]
    if rnd.random() < 0.1:
        parts = [_segment({"alg": "RSA-OAEP", "enc": "A256GCM"})]
        parts += [base64.urlsafe_b64encode(rnd.randbytes(n)).rstrip(b"=").decode() for n in (256, 12, 60)]
        size, algorithm = 16, "JWE"
    signature = base64.urlsafe_b64encode(rnd.randbytes(size)).rstrip(b"=").decode()
    return Value(".".join([*parts, signature]) if signature else ".".join(parts), algorithm)


def cloud_key(rnd: Random) -> Value:
    note, text = rnd.choice(
        (
            ("AWS", "AKIA" + _some(_UPPER[:26] + "234567", 16, rnd)),
            ("AWS session", "ASIA" + _some(_UPPER[:26] + "234567", 16, rnd)),
            ("AWS pair", f"AKIA{_some(_UPPER, 16, rnd)}{rnd.choice((':', ' ', ', '))}{_some(_ALNUM + '+/', 40, rnd)}"),
            ("Google API", "AIza" + _some(_URL_SAFE, 35, rnd)),
            ("Google OAuth", f"ya29.{_some(_URL_SAFE, rnd.randrange(60, 180), rnd)}"),
            ("Google client", f"GOCSPX-{_some(_URL_SAFE, 28, rnd)}"),
            ("Azure client", f"{_some(_ALNUM, 3, rnd)}8Q~{_some(_ALNUM + '_-.~', 34, rnd)}"),
            ("DigitalOcean", f"dop_v1_{_some(_HEX, 64, rnd)}"),
            ("Vault", f"hvs.{_some(_URL_SAFE, 90, rnd)}"),
        )
    )
    return Value(text, note)


def api_key(rnd: Random) -> Value:
    note, text = rnd.choice(
        (
            ("GitHub", f"gh{rnd.choice('pousr')}_{_some(_ALNUM, 36, rnd)}"),
            ("GitHub fine-grained", f"github_pat_{_some(_ALNUM, 22, rnd)}_{_some(_ALNUM, 59, rnd)}"),
            ("GitLab", f"glpat-{_some(_URL_SAFE, 20, rnd)}"),
            (
                "Slack bot",
                f"xoxb-{rnd.randrange(10**11, 10**12)}-{rnd.randrange(10**12, 10**13)}-{_some(_ALNUM, 24, rnd)}",
            ),
            (
                "Slack user",
                f"xoxp-{rnd.randrange(10**11, 10**12)}-{rnd.randrange(10**11, 10**12)}-{_some(_HEX, 32, rnd)}",
            ),
            ("Slack app", f"xapp-1-A{_some(_UPPER, 10, rnd)}-{rnd.randrange(10**12, 10**13)}-{_some(_HEX, 64, rnd)}"),
            (
                "Stripe",
                f"{rnd.choice(('sk', 'rk'))}_{rnd.choice(('live', 'test'))}_{_some(_ALNUM, rnd.choice((24, 99)), rnd)}",
            ),
            ("Stripe webhook", f"whsec_{_some(_ALNUM, 32, rnd)}"),
            ("OpenAI", f"sk-{_some(_ALNUM, 48, rnd)}"),
            ("OpenAI project", f"sk-proj-{_some(_URL_SAFE, 120, rnd)}"),
            ("Anthropic", f"sk-ant-api03-{_some(_URL_SAFE, 93, rnd)}AA"),
            ("Hugging Face", f"hf_{_some(string.ascii_letters, 34, rnd)}"),
            ("npm", f"npm_{_some(_ALNUM, 36, rnd)}"),
            ("PyPI", f"pypi-AgEIcHlwaS5vcmc{_some(_URL_SAFE, 150, rnd)}"),
            ("SendGrid", f"SG.{_some(_URL_SAFE, 22, rnd)}.{_some(_URL_SAFE, 43, rnd)}"),
            ("Twilio", f"SK{_some(_HEX, 32, rnd)}"),
            ("Shopify", f"shpat_{_some(_HEX, 32, rnd)}"),
            ("Docker", f"dckr_pat_{_some(_URL_SAFE, 27, rnd)}"),
            ("Grafana", f"glsa_{_some(_ALNUM, 32, rnd)}_{_some(_HEX, 8, rnd)}"),
        )
    )
    return Value(text, note)


def private_key(rnd: Random) -> Value:
    label = rnd.choice(
        (
            "PRIVATE KEY",
            "RSA PRIVATE KEY",
            "EC PRIVATE KEY",
            "OPENSSH PRIVATE KEY",
            "ENCRYPTED PRIVATE KEY",
            "PGP PRIVATE KEY BLOCK",
        )
    )
    newline = rnd.choice(("\n", "\\n", "\r\n"))
    body = newline.join(base64.b64encode(rnd.randbytes(48)).decode() for _ in range(rnd.randrange(3, 26)))
    return Value(f"-----BEGIN {label}-----{newline}{body}{newline}-----END {label}-----", label)


def secret(rnd: Random) -> Value:
    password = rnd.choice(_WORDS) + rnd.choice(("", "!", "#", "-")) + str(rnd.randrange(10, 10**4))
    opaque = _some(_ALNUM, rnd.choice((16, 24, 32, 40)), rnd)
    azure = base64.b64encode(rnd.randbytes(64)).decode()
    before, text, after, note = rnd.choice(
        (
            ("password=", password, "", "password"),
            ("passwd: ", password, "", "password"),
            ('"password":"', password, '"', "JSON"),
            ("DB_PASSWORD=", password, "", "variable"),
            ("user=ana;pwd=", password, ";db=x", "connection string"),
            ("api_key=", opaque, "", "API key"),
            ("X-Api-Key: ", opaque, "", "header"),
            ('"apiKey": "', opaque, '"', "JSON"),
            ("client_secret=", opaque, "&x=1", "form"),
            ("access_token=", opaque, "", "form"),
            ("Authorization: Bearer ", opaque, "", "header"),
            ("bearer ", opaque, " expired", "sentence"),
            ("Authorization: Basic ", base64.b64encode(f"ana:{password}".encode()).decode(), "", "header"),
            ("AccountName=x;AccountKey=", azure, ";", "Azure"),
            ("SharedAccessKey=", azure, "", "Azure"),
            ("?sv=2022-11-02&sig=", azure.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"), "", "Azure SAS"),
            ("aws_secret_access_key = ", _some(_ALNUM + "/+", 40, rnd), "", "AWS"),
            ("postgres://app:", _some(_ALNUM + "$!*", 14, rnd), "@db.example.com:5432/x", "URL"),
            ("redis://:", opaque, "@cache.example.com:6379", "URL"),
            ("secret: '", password, "'", "YAML"),
        )
    )
    return Value(text, note, before, after)

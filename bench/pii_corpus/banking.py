"""Card numbers and IBANs that pass their checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.pii_corpus.example import Value

if TYPE_CHECKING:
    from random import Random

# issuer: prefixes as ranges, and lengths
_ISSUERS = {
    "visa": (((4, 4),), (16, 16, 16, 13, 19)),
    "mastercard": (((51, 55),), (16,)),
    "mastercard-2": (((2221, 2720),), (16,)),
    "amex": (((34, 34), (37, 37)), (15,)),
    "discover": (((6011, 6011), (644, 649), (65, 65)), (16, 16, 19)),
    "diners": (((300, 305), (36, 36), (38, 39)), (14,)),
    "jcb": (((3528, 3589),), (16,)),
    "unionpay": (((62, 62),), (16, 19)),
    "maestro": (((5018, 5018), (5020, 5020), (5038, 5038), (5893, 5893), (6304, 6304), (6759, 6763)), (16, 18, 19)),
    "mir": (((2200, 2204),), (16,)),
    "rupay": (((60, 60), (6521, 6522), (81, 82), (508, 508)), (16,)),
    "elo": (((506699, 506778), (509000, 509999), (636297, 636297), (438935, 438935)), (16,)),
    "troy": (((9792, 9792),), (16,)),
    "verve": (((506099, 506198), (650002, 650027)), (16, 19)),
    "dankort": (((5019, 5019),), (16,)),
    "humo": (((9860, 9860),), (16,)),
    "uzcard": (((8600, 8600),), (16,)),
}
# of the SWIFT registry: BBAN as runs of n digits, a capital letters, c either
_BBANS = {
    "AD": "8n12c", "AE": "19n", "AL": "8n16c", "AT": "16n", "AZ": "4a20c", "BA": "16n", "BE": "12n", "BG": "4a6n8c",
    "BH": "4a14c", "BI": "23n", "BR": "23n1a1c", "BY": "4c4n16c", "CH": "5n12c", "CR": "18n", "CY": "8n16c",
    "CZ": "20n", "DE": "18n", "DJ": "23n", "DK": "14n", "DO": "4c20n", "EE": "16n", "EG": "25n", "ES": "20n",
    "FI": "14n", "FK": "2a12n", "FO": "14n", "FR": "10n11c2n", "GB": "4a14n", "GE": "2a16n", "GI": "4a15c",
    "GL": "14n", "GR": "7n16c", "GT": "4c20c", "HR": "17n", "HU": "24n", "IE": "4a14n", "IL": "19n", "IQ": "4a15n",
    "IS": "22n", "IT": "1a10n12c", "JO": "4a4n18c", "KW": "4a22c", "KZ": "3n13c", "LB": "4n20c", "LC": "4a24c",
    "LI": "5n12c", "LT": "16n", "LU": "3n13c", "LV": "4a13c", "LY": "21n", "MC": "10n11c2n", "MD": "2c18c",
    "ME": "18n", "MK": "3n10c2n", "MN": "16n", "MR": "23n", "MT": "4a5n18c", "MU": "4a19n3a", "NI": "4a20n",
    "NL": "4a10n", "NO": "11n", "OM": "3n16c", "PK": "4a16c", "PL": "24n", "PS": "4a21c", "PT": "21n", "QA": "4a21c",
    "RO": "4a16c", "RS": "18n", "RU": "14n15c", "SA": "2n18c", "SC": "4a20n3a", "SD": "14n", "SE": "20n", "SI": "15n",
    "SK": "20n", "SM": "1a10n12c", "SO": "19n", "ST": "21n", "SV": "4a20n", "TL": "19n", "TN": "20n", "TR": "6n16c",
    "UA": "6n19c", "VA": "18n", "VG": "4a16n", "XK": "16n", "YE": "4a4n18c",
}  # fmt: skip
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def card(rnd: Random) -> Value:
    issuer = rnd.choice(list(_ISSUERS))
    ranges, lengths = _ISSUERS[issuer]
    low, high = rnd.choice(ranges)
    length = rnd.choice(lengths)
    body = str(rnd.randint(low, high))
    body += "".join(rnd.choices("0123456789", k=length - 1 - len(body)))
    return Value(_printed(body + _luhn_digit(body), rnd), issuer)


def _luhn_digit(body: str) -> str:
    total = 0
    for place, digit in enumerate(reversed(body)):
        total += sum(divmod(int(digit) * 2, 10)) if place % 2 == 0 else int(digit)
    return str(-total % 10)


def _printed(number: str, rnd: Random) -> str:
    separator = rnd.choice(("", " ", "-"))
    if len(number) in (14, 15):
        groups = [number[:4], number[4:10], number[10:]]
    elif len(number) == 18:
        return number
    else:
        groups = [number[at : at + 4] for at in range(0, len(number), 4)]
    return separator.join(groups)


def iban(rnd: Random) -> Value:
    country = rnd.choice(list(_BBANS))
    bban, count = "", ""
    for character in _BBANS[country]:
        if character.isdigit():
            count += character
            continue
        alphabet = {"n": "0123456789", "a": _LETTERS}.get(character, "0123456789" * 3 + _LETTERS)
        bban += "".join(rnd.choices(alphabet, k=int(count)))
        count = ""
    digits = "".join(str(int(character, 36)) for character in bban + country + "00")
    compact = f"{country}{98 - int(digits) % 97:02d}{bban}"
    if rnd.random() < 0.5:
        return Value(compact, country)
    return Value(" ".join(compact[at : at + 4] for at in range(0, len(compact), 4)), country)

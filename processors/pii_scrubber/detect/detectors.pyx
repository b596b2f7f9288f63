"""Finds what must not go on in a value: one pass from trigger to trigger, each judged by a machine of its own.

A trigger is a pair of bytes that every finding of a kind has at a known place: a digit, `@`, `:`, `=`, the first two
letters of a token's prefix. Every machine reads a bounded distance, or what it has read is not read again; so the
whole takes time linear in the size of the value, whatever is in it. Nothing here allocates but `find` and `scrub`.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memset

from processors.pii_scrubber.detect.addresses cimport ipv4_at, ipv6_at, mask_ipv4, mask_ipv6
from processors.pii_scrubber.detect.assignments cimport assigned_at, bearer_at, url_password_before
from processors.pii_scrubber.detect.cards cimport card_at
from processors.pii_scrubber.detect.classes cimport (
    ALNUM, DIGIT, HEX, LETTER, TOKEN, escape, fill_classes, has, is_json_escape, peek, pii_class, run, starts_word,
)
from processors.pii_scrubber.detect.emails cimport email_around
from processors.pii_scrubber.detect.first_look cimport SHORT, SHORTEST, worth_a_scan
from processors.pii_scrubber.detect.iban cimport fill_iban_lengths, iban_at
from processors.pii_scrubber.detect.kinds cimport (
    CARD, CLOUD_KEY, EMAIL, IBAN, IPV4, IPV6, JWT, PHONE, PRIVATE_KEY, SECRET,
)
from processors.pii_scrubber.detect.numbers cimport Number, read_number
from processors.pii_scrubber.detect.phones cimport phone_at
from processors.pii_scrubber.detect.tokens cimport index_vendors, jwt_at, private_key_at, vendor_at
from processors.pii_scrubber.detect.wide_look cimport WIDTH, surely_nothing as look_wide

from processors.pii_scrubber.detect.kinds import Finding, Kind
from processors.pii_scrubber.detect.patterns import ValuePatterns
from processors.pii_scrubber.detect.replacements import marker

fill_classes()
fill_iban_lengths()
index_vendors()

cdef enum:
    CLASSES = 30          # of first letters, bit 0 and the one of escapes apart
    ESCAPES = 31

# first letters of tokens, and the letters that may follow
_PAIRS = {
    int(Kind.CLOUD_KEY): ("AKSIBC", "GO", "ya", "do", "hv", "Q~"),
    int(Kind.API_KEY): ("ghil", "gs", "xoa", "skh", "rk", "wh", "hf", "np", "nv", "py", "SGK", "dc", "hv"),
    int(Kind.JWT): ("ey",),
    int(Kind.PRIVATE_KEY): ("--",),
    int(Kind.SECRET): ("Be", "be", "BE"),
}


cdef inline bint wants(uint32_t wanted, int kind) noexcept nogil:
    return (wanted >> kind & 1) != 0


cdef inline bint keep(Found *found, Py_ssize_t start, Py_ssize_t end, Py_ssize_t floor, int kind) noexcept nogil:
    found.start = start if start > floor else floor
    found.end = end
    found.kind = kind
    return True


cdef inline Py_ssize_t azure_secret_around(
    const uint8_t *text, Py_ssize_t size, Py_ssize_t floor, Py_ssize_t at
) noexcept nogil:
    """Where the Entra client secret (3 characters, a digit, `Q~`, 31 or more) begins whose `Q` is at `at`, or -1."""
    cdef Py_ssize_t start = at - 4, i
    if start < floor or not has(text, size, at - 1, DIGIT) or not starts_word(text, start, ALNUM):
        return -1
    for i in range(start, at):
        if not (pii_class[text[i]] & TOKEN or text[i] == c"~" or text[i] == c"."):
            return -1
    return start


cdef inline bint in_the_middle(const uint8_t *text, Py_ssize_t size, Py_ssize_t at) noexcept nogil:
    """Whether neither a card nor a phone number can begin with this group: what stands beside it settles that soon."""
    cdef Py_ssize_t length
    cdef int before = peek(text, size, at - 1)
    cdef bint hyphen = before == c"-" or before == c"."
    if hyphen and has(text, size, at - 2, DIGIT):
        return True
    if hyphen and has(text, size, at - 2, LETTER) or (
        before == c" " and has(text, size, at - 2, DIGIT) and not (text[at] == c"0" and text[at + 1] == c"0")
    ):
        # behind a word or in a row of numbers, a card at most: its first group or all of its digits
        length = run(text, min(size, at + 13), at, DIGIT) - at
        return length != 4 and length < 13
    # 1.2.3: neither 1.415.555.2671 nor +1.4155552671
    return text[at + 1] == c"." and not has(text, size, at + 3, DIGIT) and before != c"+"


cdef bint number_around(
    uint32_t wanted, const uint8_t *text, Py_ssize_t size, Py_ssize_t at, Py_ssize_t floor, Found *found
) noexcept nogil:
    """What begins with the first digit of a group, at `at`."""
    cdef Number number
    cdef Py_ssize_t end, start = at
    if (
        wants(wanted, IBAN) and at - 2 >= floor and pii_class[text[at - 1]] & LETTER
        and pii_class[text[at - 2]] & LETTER and has(text, size, at + 1, DIGIT)
    ):
        end = iban_at(text, size, at - 2)
        if end > 0:
            return keep(found, at - 2, end, floor, IBAN)
    if not starts_word(text, at, LETTER):
        return False
    if wants(wanted, IPV4) and size - at >= 7 and (
        text[at + 1] == c"." or text[at + 2] == c"." or text[at + 3] == c"."
    ):
        end = ipv4_at(text, size, at)
        if end > 0:
            return keep(found, at, end, floor, IPV4)
    if size - at < 7 or not (wants(wanted, CARD) or wants(wanted, PHONE)) or in_the_middle(text, size, at):
        return False
    read_number(text, size, at, &number)
    if wants(wanted, CARD) and number.digits >= 13:
        end = card_at(text, size, at, &number)
        if end > 0:
            return keep(found, at, end, floor, CARD)
    if wants(wanted, PHONE):
        end = phone_at(text, size, at, &number, &start)
        if end > 0:
            return keep(found, start, end, floor, PHONE)
    return False


cdef bint colon_around(
    const uint8_t *text, Py_ssize_t size, Py_ssize_t at, Py_ssize_t floor, Found *found
) noexcept nogil:
    """The IPv6 address whose first colon is at `at`; or whose first group stands behind it."""
    cdef Py_ssize_t start = at, end
    while start > floor and at - start < 7 and pii_class[text[start - 1]] & HEX:
        start -= 1
    if start > floor and text[start - 1] == c"%" and at - start >= 2:
        start += 2    # an escape, not a group
    if start > floor and text[start - 1] == c":":
        return False    # not the first
    if start < at or peek(text, size, at + 1) == c":":
        if starts_word(text, start, ALNUM) and not (start and text[start - 1] == c"."):
            end = ipv6_at(text, size, start)
            if end > 0:
                return keep(found, start, end, floor, IPV6)
    if has(text, size, at + 1, HEX):
        end = ipv6_at(text, size, at + 1)
        if end > 0:
            return keep(found, at + 1, end, floor, IPV6)
    return False


cdef bint token_at(
    uint32_t wanted, const uint8_t *text, Py_ssize_t size, Py_ssize_t at, Py_ssize_t floor, Found *found,
    Py_ssize_t *seen
) noexcept nogil:
    """The token that begins at `at`. `seen` is where to go on when it is none."""
    cdef Py_ssize_t end, start = at
    cdef int kind = 0
    if text[at] == c"-":
        end = private_key_at(text, size, at)
        return end > 0 and wants(wanted, PRIVATE_KEY) and keep(found, at, end, floor, PRIVATE_KEY)
    if text[at] == c"Q":
        start = azure_secret_around(text, size, floor, at)
        if start < 0 or not wants(wanted, CLOUD_KEY):
            return False
        end = at + 2
        while end < size and (pii_class[text[end]] & TOKEN or text[end] == c"~" or text[end] == c"."):
            end += 1
        seen[0] = end
        return end - at >= 33 and keep(found, start, end, floor, CLOUD_KEY)
    # `prod_AKIA...` and `-ghp_...` are tokens: prefix and length say enough
    if not starts_word(text, at, ALNUM):
        return False
    if text[at] == c"e":
        if size - at < 20 or text[at + 2] != c"J" or not wants(wanted, JWT):
            return False
        end = jwt_at(text, size, at)
        return end > 0 and keep(found, at, end, floor, JWT)
    if text[at] == c"B" or text[at] == c"b":
        end = bearer_at(text, size, at, &start) if starts_word(text, at, TOKEN) else -1
        return end > 0 and wants(wanted, SECRET) and named(wanted, text, size, start, end, floor, found)
    end = vendor_at(text, size, at, &kind)
    return end > 0 and wants(wanted, kind) and keep(found, at, end, floor, kind)


cdef bint named(
    uint32_t wanted, const uint8_t *text, Py_ssize_t size, Py_ssize_t start, Py_ssize_t end, Py_ssize_t floor,
    Found *found
) noexcept nogil:
    """The secret in [start, end), by its own kind where it has one and nothing is left beside it."""
    cdef Py_ssize_t seen = 0
    if (end - start >= 20 or text[start] == c"-") and text[start] != c"B" and text[start] != c"b" and token_at(
        wanted, text, size, start, floor, found, &seen
    ):
        if found.end >= end or text[found.end] == c"#":
            return True
    return keep(found, start, end, floor, SECRET)


cdef class ValueDetectors:
    """Compiled detectors of the given kinds, and the user's patterns.

    `kinds` are names of `Kind` in lower case. `custom` patterns find more; what one of `blocked_values` matches (RE2)
    is found, too. A value in which one of `allowed_values` matches is spared `blocked_values`, as the Collector's
    `redaction` has it; the other findings are spared where they lie within such a match. `replace(kind, found)` gives
    what stands in for a finding, IP addresses apart, which are masked, and custom patterns with a mask of their own.

    Thread-safe; holds no state between calls. Raises ValueError for an unknown kind or a pattern that is no RE2.
    """

    def __init__(self, kinds, custom=(), *, allowed_values=(), blocked_values=(), replace=None):
        cdef int kind, byte, shift = 1
        self.wanted = 0
        for name in kinds:
            try:
                self.wanted |= 1 << int(Kind[name.upper()])
            except KeyError:
                raise ValueError(f"there is no kind of value called {name!r}") from None
        self.patterns = ValuePatterns(custom, allowed_values, blocked_values)
        self.patterned = bool(self.patterns)
        self.replace = replace or marker
        self.masks = {int(k): marker(k, b"") for k in Kind} if replace is None else {}
        self.masks |= {kind: mask for kind, mask in self.patterns.masks.items() if mask is not None}
        for byte in range(256):
            self.second[byte] = 1
        if self.wanted & (1 << IBAN | 1 << IPV4 | 1 << CARD | 1 << PHONE):
            for byte in range(48, 58):
                self.first[byte] = 1
        self.first[c"%"] = 1
        # an escape of JSON is passed over: its letter or its digits begin nothing
        self.first[c"\\"] = <uint32_t>1 << ESCAPES
        for byte in b"ntru":
            self.second[byte] |= <uint32_t>1 << ESCAPES
        if self.wanted & (1 << EMAIL | 1 << SECRET):
            self.first[c"@"] = 1
        if self.wanted & (1 << SECRET | 1 << IPV6):
            self.first[c":"] = 1
        if self.wanted & (1 << SECRET):
            self.first[c"="] = 1
        for kind, pairs in _PAIRS.items():
            if not self.wanted & 1 << kind:
                continue
            for pair in pairs:
                self.first[<uint8_t>ord(pair[0])] |= 1 << shift
                for letter in pair[1:]:
                    self.second[<uint8_t>ord(letter)] |= 1 << shift
                shift = shift % CLASSES + 1

    cdef bint next_found(
        self, const uint8_t *text, Py_ssize_t size, Py_ssize_t at, Py_ssize_t floor, Found *found
    ) noexcept nogil:
        """The next finding whose trigger is at `at` or behind; it begins at `floor`, the end of the last, or behind."""
        cdef uint32_t wanted = self.wanted
        cdef Py_ssize_t start, end, seen, mailed = floor, last = size - 1
        cdef uint8_t byte
        cdef int length, plain
        while at < last:
            byte = text[at]
            if not self.first[byte] & self.second[text[at + 1]]:
                at += 1
                continue
            if pii_class[byte] & DIGIT:
                if number_around(wanted, text, size, at, floor, found):
                    return True
                at = run(text, size, at + 1, DIGIT)
                if at < size and pii_class[text[at]] & LETTER:
                    at = run(text, size, at, ALNUM)
                    if at < size and text[at] == c"~" and text[at - 1] == c"Q":
                        at -= 1
                continue
            length = 1
            if byte == c"\\":
                at += 6 if is_json_escape(text, size, at) else 1 if text[at + 1] == c"u" else 2
                continue
            if byte == c"%":
                # what is percent-encoded is taken as the byte that it stands for
                plain = escape(text, size, at)
                if plain < 0:
                    at += 1
                    continue
                length = 3
                byte = <uint8_t>plain
            if byte == c":" or byte == c"=":
                if wants(wanted, SECRET):
                    end = assigned_at(text, size, at, length, &start)
                    if end > 0 and named(wanted, text, size, start, end, floor, found):
                        return True
                if byte == c":" and length == 1 and wants(wanted, IPV6):
                    if colon_around(text, size, at, floor, found):
                        return True
            elif byte == c"@":
                if wants(wanted, SECRET):
                    start = url_password_before(text, size, mailed, at, length)
                    if start > 0:
                        return keep(found, start, at, floor, SECRET)
                if wants(wanted, EMAIL):
                    end = email_around(text, size, mailed, at, length, &start)
                    if end > 0:
                        return keep(found, start, end, floor, EMAIL)
                mailed = at + length
            elif length == 1:
                seen = at + 1
                if token_at(wanted, text, size, at, floor, found, &seen):
                    return True
                at = seen
                continue
            at += length
        return False

    cdef int may_hold(self, const uint8_t *at, Py_ssize_t size) noexcept nogil:
        """Whether `scrub` may find something in these bytes; 0: surely not. Exact but for the user's patterns."""
        cdef Found found
        if self.patterned:
            return 1
        if size < SHORT and not worth_a_scan(at, size):
            return 0
        return self.next_found(at, size, 0, 0, &found)

    def find(self, const uint8_t[::1] value not None):
        """Findings in `value`, in order, none overlapping another."""
        cdef Found found
        cdef Py_ssize_t size = value.shape[0], at = 0
        cdef list findings = []
        if size == 0:
            return findings
        if size >= SHORTEST:
            while self.next_found(&value[0], size, at, at, &found):
                findings.append(Finding(found.start, found.end, found.kind))
                at = found.end
        if self.patterned:
            return self.patterns.joined(bytes(value), findings)
        return findings

    def scrub(self, bytes value not None):
        """`value` with every finding replaced; None when there is none, or when nothing would change."""
        cdef const uint8_t *text = value
        cdef Py_ssize_t size = len(value), at = 0
        cdef Found found
        cdef list pieces = []
        if self.patterned:
            for finding in self.find(value):
                pieces.append(value[at:finding.start])
                pieces.append(self.replacement(finding.kind, value[finding.start:finding.end]))
                at = finding.end
        elif self.may_hold(text, size):
            while self.next_found(text, size, at, at, &found):
                pieces.append(value[at:found.start])
                pieces.append(self.stand_in(found.kind, text + found.start, found.end - found.start))
                at = found.end
        if not pieces:
            return None
        pieces.append(value[at:])
        scrubbed = b"".join(pieces)
        return None if scrubbed == value else scrubbed

    cdef bytes stand_in(self, int kind, const uint8_t *found, Py_ssize_t size):
        cdef uint8_t masked[48]
        cdef int length = 0
        if kind == IPV4:
            length = mask_ipv4(found, size, masked)
        elif kind == IPV6:
            length = mask_ipv6(found, size, masked)
        if length:
            return masked[:length]
        mask = self.masks.get(kind)
        return self.replace(kind, found[:size]) if mask is None else mask

    def replacement(self, int kind, bytes found not None):
        """What stands in for a finding."""
        return self.stand_in(kind, found, len(found))


def may_hold(ValueDetectors detectors not None, bytes value not None):
    """`ValueDetectors.may_hold` for tests: the compiled look that the wire side takes at every value."""
    return detectors.may_hold(value, len(value)) != 0


def surely_nothing(ValueDetectors detectors not None, bytes value not None):
    """The wide look at a value of up to 32 bytes for tests, with digits behind it that are none of its own."""
    cdef uint8_t room[WIDTH]
    if len(value) > WIDTH:
        raise ValueError("at most 32 bytes")
    memset(room, c"1", WIDTH)
    memcpy(room, <const char *>value, len(value))
    return look_wide(room, len(value), detectors.first, detectors.second) != 0


def nanoseconds_to_look(ValueDetectors detectors not None, list values not None, int rounds):
    """Nanoseconds that `may_hold` takes for one of `values`, on average, with no Python object in the way."""
    from time import thread_time_ns

    cdef int i, _round, count = len(values)
    cdef Py_ssize_t total = 0
    cdef const uint8_t *texts[256]
    cdef Py_ssize_t sizes[256]
    if not 0 < count <= 256:
        raise ValueError("1 to 256 values")
    for i in range(count):
        texts[i] = values[i]
        sizes[i] = len(values[i])
    begin = thread_time_ns()
    with nogil:
        for _round in range(rounds):
            for i in range(count):
                total += detectors.may_hold(texts[i], sizes[i])
    return (thread_time_ns() - begin) / (rounds * count), total

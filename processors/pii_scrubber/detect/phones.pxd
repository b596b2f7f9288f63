"""Phone numbers: international ones by country code and length (ITU-T E.164), national ones by their groups.

A number without `+`, separators or a word such as `phone` before it is not found: it may as well be an order number.
"""

from libc.stdint cimport uint8_t, uint32_t

from processors.pii_scrubber.detect.classes cimport (
    ALNUM, DIGIT, LETTER, escape, has, lower, matches, peek, pii_class, starts_word,
)
from processors.pii_scrubber.detect.emails cimport may_be_local
from processors.pii_scrubber.detect.numbers cimport CLOSED, DASH, DOT, OPENED, SLASH, SPACE, Number

cdef extern from *:
    """
    /* Digits after the country code, fewest and most, by the code's first two digits; 0 where a code has three. */
    static const unsigned char pii_fewest[100] = {
        0,0,0,0,0,0,0,0,0,0, 10,10,10,10,10,10,10,10,10,10, 8,0,0,0,0,0,0,9,0,0,
        9,9,8,9,9,0,8,0,0,8, 9,8,0,7,9,8,7,8,9,6, 0,8,10,6,10,10,9,8,10,0,
        8,9,7,8,8,8,8,0,0,0, 10,10,10,10,10,10,10,10,10,10, 0,9,7,0,9,0,8,0,0,0,
        10,10,9,9,9,7,0,0,10,0 };
    static const unsigned char pii_most[100] = {
        0,0,0,0,0,0,0,0,0,0, 10,10,10,10,10,10,10,10,10,10, 10,0,0,0,0,0,0,9,0,0,
        10,9,9,9,9,0,9,0,0,11, 9,9,0,13,10,8,10,8,9,12, 0,9,11,8,11,11,9,10,10,0,
        10,9,12,10,10,8,9,0,0,0, 10,10,10,10,10,10,10,10,10,10, 0,10,11,0,10,0,11,0,0,0,
        10,10,10,9,9,10,0,0,10,0 };
    """
    const uint8_t pii_fewest[100]
    const uint8_t pii_most[100]

cdef enum:
    LOOK_BACK = 24


cdef inline bint no_code_follows(
    const uint8_t *text, Py_ssize_t size, Py_ssize_t at, Py_ssize_t end, bint certain
) noexcept nogil:
    """Whether what follows leaves the number in [at, end) whole: no letter (an extension's `x` apart), no decimals.

    A word may follow behind `-` or `_` where the number is `certain`, and `@host` where that makes no e-mail address.
    """
    cdef int after = peek(text, size, end)
    if after < 0:
        return True
    if pii_class[after] & ALNUM:
        return after == c"x" and has(text, size, end + 1, DIGIT) or matches(text, size, end, b"ext", 3)
    if after == c"@":
        return not may_be_local(text, size, at, end, 1)
    if after == c"_":
        return certain
    if after == c"-":
        return not has(text, size, end + 1, ALNUM if not certain else DIGIT)
    if after == c"." or after == c":" or after == c",":
        return not has(text, size, end + 1, DIGIT)
    return escape(text, size, end) != c"@" or not may_be_local(text, size, at, end, 3)


cdef inline int country_digits(const Number *number, int from_digit, int *fewest, int *most) noexcept nogil:
    """How many digits the country code has that begins at digit `from_digit`, 0 for none."""
    cdef int two
    if number.digits - from_digit < 7 or number.digit[from_digit] == 0:
        return 0
    two = number.digit[from_digit] * 10 + number.digit[from_digit + 1]
    if pii_fewest[two] == 0:
        fewest[0] = 6
        most[0] = 12
        return 3
    fewest[0] = pii_fewest[two]
    most[0] = pii_most[two]
    return 1 if 10 <= two <= 19 or 70 <= two <= 79 else 2


cdef inline int international(const Number *number, int prefix) noexcept nogil:
    """How many groups the number has after `prefix` digits that stand for the `+`; 0 when it is none."""
    cdef int fewest = 0, most = 0, total = 0, found = 0, i
    cdef int code = country_digits(number, prefix, &fewest, &most)
    if code == 0:
        return 0
    if code == 1 and number.digit[prefix] == 1 and number.digit[prefix + 1] < 2:
        return 0
    for i in range(number.groups):
        total += number.length[i]
        # a bracketed trunk zero, +44 (0)20, is no part of the number
        if i and number.length[i] == 1 and number.before[i] & OPENED:
            most += 1
        if total - prefix - code > most:
            break
        if total - prefix - code >= fewest:
            found = i + 1
    return found


cdef inline bint ten_digits_of_america(const Number *number, int skip) noexcept nogil:
    """Whether the area code and the exchange are possible ones of the North American plan."""
    cdef const uint8_t *digit = number.digit + skip
    return digit[0] >= 2 and digit[3] >= 2 and not (digit[1] == 1 and digit[2] == 1)


cdef inline bint is_national(const Number *number, int groups, uint8_t kinds, bint bracket, bint listed) noexcept nogil:
    """Whether these groups look like a number of some country. `kinds`: all separators; `listed`: `[` stands before."""
    cdef uint32_t shape = 0
    cdef int total = 0, i
    cdef const uint8_t *digit = <const uint8_t *>number.digit
    cdef uint8_t plain = kinds & (SPACE | DASH | DOT | SLASH)
    for i in range(groups):
        shape = shape << 4 | (number.length[i] & 15)
        total += number.length[i]
    if bracket:
        # the area code in brackets
        return (
            groups >= 2 and (number.before[1] & CLOSED) != 0 and 2 <= number.length[0] <= 5 and 8 <= total <= 11
            and number.length[1] >= 2 and number.length[groups - 1] >= 2
        )
    if kinds & OPENED:
        return (shape == 0x1334 or shape == 0x13322) and (digit[0] == 1 or digit[0] == 8 or digit[0] == 7)
    if digit[0] == 0:
        if digit[1] == 0 or groups < 2 or groups > 5 or not 2 <= number.length[0] <= 5 or not 9 <= total <= 12:
            return False
        if number.length[groups - 1] < 2 or number.length[1] < 2 or (kinds & DOT and (groups < 3 or kinds != DOT)):
            return False
        if groups > 3 and shape >> 4 * (groups - 3) == 0x224:
            return False    # a date before something else
        if shape == 0x54 and kinds == DASH:
            return False    # an American postal code
        return True
    if shape == 0x334:
        if plain == SPACE:
            return not listed and (ten_digits_of_america(number, 0) or digit[0] == 3)
        return (plain == DASH or plain == DOT) and ten_digits_of_america(number, 0)
    if shape == 0x1334:
        return (digit[0] == 1 or digit[0] == 8) and plain != SLASH and ten_digits_of_america(number, 1)
    if shape == 0x13322:
        return digit[0] == 8 and (kinds & ~(SPACE | DASH)) == 0
    if shape == 0x3322:
        return (plain == DASH or plain == (SPACE | DASH)) and digit[0] >= 3
    # the others are weaker: nothing may follow that could make them part of something else
    if listed or kinds & ~(SPACE | DASH) or groups < number.groups or number.after:
        return False
    if shape == 0x254:
        return digit[2] == 9 and digit[0] >= 1
    if shape == 0x244:
        return plain != DASH
    if shape == 0x344:
        return digit[0] == 1 and digit[1] >= 3
    if shape == 0x55:
        return digit[0] >= 6 and plain == SPACE    # else a range
    if kinds & DASH:
        return False
    if shape == 0x333:
        return digit[0] >= 5
    if shape == 0x3222:
        return digit[0] >= 6
    if shape == 0x2222:
        return digit[0] >= 2
    if shape == 0x2322:
        return True
    if shape == 0x144:
        return digit[0] == 9
    if shape == 0x37:
        return digit[0] == 3
    return shape == 0x323 and (digit[0] == 4 or digit[0] == 9)


cdef inline bint after_phone_word(const uint8_t *text, Py_ssize_t size, Py_ssize_t at) noexcept nogil:
    """Whether a word that announces a phone number stands shortly before `at`, with no other digit between."""
    cdef Py_ssize_t here = at - 1, limit = at - LOOK_BACK
    cdef uint8_t first
    cdef bint begins
    if limit < 0:
        limit = 0
    # not beyond what another scrubber has put there: `[phone]`
    while here >= limit and not pii_class[text[here]] & DIGIT and text[here] != c"]":
        first = lower(text[here])
        begins = here == 0 or not pii_class[text[here - 1]] & LETTER
        if first == c"p":
            if matches(text, at, here, b"phone", 5):
                return True
        elif begins and first == c"t":
            if matches(text, at, here, b"tel", 3):
                if not has(text, at, here + 3, LETTER) or matches(text, at, here, b"telefon", 7):
                    return True
        elif begins and first == c"m":
            if (
                matches(text, at, here, b"mobil", 5) or matches(text, at, here, b"msisdn", 6)
                or matches(text, at, here, b"movil", 5)
            ):
                return True
        elif begins and first == c"f":
            if matches(text, at, here, b"fax", 3) and not has(text, at, here + 3, LETTER):
                return True
        elif begins and first == c"c":
            if (matches(text, at, here, b"cell", 4) or matches(text, at, here, b"call", 4)) and not has(
                text, at, here + 4, LETTER
            ):
                return True
        elif begins and first == c"s":
            if matches(text, at, here, b"sms", 3) and not has(text, at, here + 3, LETTER):
                return True
        elif begins and first == c"w":
            if matches(text, at, here, b"whatsapp", 8):
                return True
        elif begins and first == c"d":
            if matches(text, at, here, b"dial", 4):
                return True
        here -= 1
    return False


cdef inline int announced(const Number *number, uint8_t *kinds) noexcept nogil:
    """How many groups a number has that a word announced: 7 to 15 digits, no date; 0 for none."""
    cdef int total = 0, found = 0, i
    kinds[0] = 0
    for i in range(number.groups):
        total += number.length[i]
        if total > 12 and not (i == 0 and total <= 15):
            break
        if total >= 7:
            found = i + 1
    if found == 2 and number.before[1] & DOT:
        return 0    # a fraction
    # a time in seconds or milliseconds since 1970
    if found == 1 and (number.length[0] == 10 or number.length[0] == 13) and number.digit[0] == 1:
        return 0
    return found


cdef inline Py_ssize_t phone_at(
    const uint8_t *text, Py_ssize_t size, Py_ssize_t at, const Number *number, Py_ssize_t *start
) noexcept nogil:
    """The end of the phone number whose first digit is at `at`, or -1; `start` is where it begins, the `+` included."""
    cdef int groups, i
    cdef uint8_t kinds
    cdef bint bracket = False, certain
    cdef int before
    start[0] = at
    if number.digits < 7 or number.groups == 0:
        return -1
    if at and text[at - 1] == c"(":
        bracket = True
        start[0] = at - 1
    elif escape(text, size, at - 3) == c"(":
        bracket = True
        start[0] = at - 3
    before = peek(text, size, start[0] - 1)
    if before == c"+" or (escape(text, size, start[0] - 3) == c"+"):
        start[0] -= 1 if before == c"+" else 3
        # a `+` between words of a URL is a space
        if starts_word(text, start[0], ALNUM) or before == c"+":
            groups = international(number, 0)
            if groups and no_code_follows(text, size, start[0], number.end[groups - 1], True):
                if starts_word(text, start[0], ALNUM) and not (start[0] and text[start[0] - 1] == c"."):
                    return number.end[groups - 1]
    before = peek(text, size, start[0] - 1)
    if not starts_word(text, start[0], ALNUM) or before == c"_" or before == c"#" or before == c"$":
        return -1
    if (before == c"-" or before == c".") and has(text, size, start[0] - 2, ALNUM):
        return -1
    if (before == c"/" or before == c":" or before == c",") and has(text, size, start[0] - 2, DIGIT):
        return -1
    if number.length[0] > 1 and number.digit[0] == 0 and number.digit[1] == 0 and number.groups > 1:
        groups = international(number, 2)
        if groups > 1 and no_code_follows(text, size, start[0], number.end[groups - 1], True):
            return number.end[groups - 1]
    # in a row of numbers, none but the first can be a national one without a word before it
    groups = number.groups if number.groups < 6 else 6
    if before == c" " and has(text, size, start[0] - 2, DIGIT):
        groups = 0
    while groups >= 2:
        kinds = 0
        for i in range(1, groups):
            kinds |= number.before[i]
        i = number.before[groups] if groups < number.groups else number.after
        if is_national(number, groups, kinds, bracket, before == c"[" or before == c",") and not i & (DASH | DOT):
            # groups with dashes between them may go on as a code does; those of America are known by their digits
            certain = not kinds & DASH or bracket or (groups == number.groups and number.digits >= 10 and (
                ten_digits_of_america(number, number.digits - 10)
            ))
            if no_code_follows(text, size, start[0], number.end[groups - 1], certain):
                return number.end[groups - 1]
        groups -= 1
    groups = announced(number, &kinds)
    if groups and no_code_follows(text, size, start[0], number.end[groups - 1], True):
        if after_phone_word(text, size, start[0]):
            return number.end[groups - 1]
    return -1

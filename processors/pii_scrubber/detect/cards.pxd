"""Payment card numbers: ISO/IEC 7812 prefixes and lengths, Luhn's check digit, and the groups they are printed in.

Not looked for: 12 digits (a few old Maestro cards; the last group of every other UUID is like that) and UATP, whose
15 digits begin with 1 as timestamps do.
"""

from libc.stdint cimport uint8_t

from processors.pii_scrubber.detect.classes cimport ALNUM, DIGIT, has, peek, starts_word
from processors.pii_scrubber.detect.emails cimport may_be_local
from processors.pii_scrubber.detect.numbers cimport DASH, DOT, SPACE, Number


cdef inline bint luhn(const uint8_t *digit, int count) noexcept nogil:
    cdef int total = 0, i, doubled
    for i in range(count):
        doubled = digit[count - 1 - i]
        if i & 1:
            doubled *= 2
            if doubled > 9:
                doubled -= 9
        total += doubled
    return total % 10 == 0


cdef inline bint is_issued(const uint8_t *digit, int count) noexcept nogil:
    """Whether some card scheme issues numbers of this many digits with this prefix."""
    cdef int two = digit[0] * 10 + digit[1]
    cdef int four = two * 100 + digit[2] * 10 + digit[3]
    if digit[0] == 4:                                       # Visa, and Elo's 4xxx
        return count == 16 or count == 13 or count == 19
    if 51 <= two <= 55 or 2221 <= four <= 2720:             # Mastercard
        return count == 16
    if two == 34 or two == 37:                              # American Express
        return count == 15
    if 3000 <= four <= 3059 or four == 3095 or two == 36 or two == 38 or two == 39:  # Diners Club
        return count == 14 or count == 16
    if 3528 <= four <= 3589:                                # JCB
        return 16 <= count <= 19
    if 2200 <= four <= 2205:                                # Mir, Borica
        return 16 <= count <= 19
    if four == 5018 or four == 5020 or four == 5038 or four == 5893 or four == 6304 or 6759 <= four <= 6763:  # Maestro
        return 13 <= count <= 19
    if two == 62:                                           # UnionPay
        return 16 <= count <= 19
    if two == 50 or two == 60 or two == 64 or two == 65:    # Discover, Verve, Elo, RuPay, Dankort, Troy
        return count == 16 or count == 18 or count == 19
    if 6360 <= four <= 6399 or two == 67 or two == 81 or two == 82:
        # InterPayment, InstaPayment, Hipercard, Elo; Maestro; RuPay
        return count == 16
    return (four == 9792 or four == 8600 or four == 9860) and count == 16  # Troy, Uzcard, Humo


cdef inline int fitting_groups(const Number *number) noexcept nogil:
    """How many groups, from the first, are grouped as a card's are; the most of them first, 0 for none."""
    cdef uint8_t separator
    if number.groups < 3 or number.length[0] != 4:
        return 0
    separator = number.before[1]
    if not (separator == SPACE or separator == DASH or separator == DOT) or number.before[2] != separator:
        return 0
    if number.length[1] == 6 and (number.length[2] == 5 or number.length[2] == 4):
        return 3
    if number.length[1] != 4 or number.length[2] != 4 or number.groups < 4 or number.before[3] != separator:
        return 0
    if number.length[3] == 4:
        if number.groups > 4 and number.before[4] == separator and number.length[4] == 3:
            return 5
        return 4
    return 4 if number.length[3] == 1 else 0


cdef inline bint ends_code(const uint8_t *text, Py_ssize_t size, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Whether nothing follows that makes the number in [at, end) part of a longer code or of an e-mail address."""
    cdef int after = peek(text, size, end)
    if after < 0:
        return True
    if has(text, size, end, ALNUM) or (after == c"@" and may_be_local(text, size, at, end, 1)):
        return False
    if after == c"." or after == c"-":
        return not has(text, size, end + 1, DIGIT)
    return True


cdef inline Py_ssize_t card_at(
    const uint8_t *text, Py_ssize_t size, Py_ssize_t at, const Number *number
) noexcept nogil:
    """The end of the card number that begins at `at`, whose groups are in `number`; or -1."""
    cdef int groups, digits = 0, i
    if number.groups == 0 or not starts_word(text, at, ALNUM):
        return -1
    # a phone number; behind a word, the + is a blank in a URL
    if peek(text, size, at - 1) == c"+" and not has(text, size, at - 2, ALNUM):
        return -1
    if at >= 2 and (text[at - 1] == c"." or text[at - 1] == c"-") and has(text, size, at - 2, DIGIT):
        return -1
    if 13 <= number.length[0] <= 19:
        if is_issued(number.digit, number.length[0]) and luhn(number.digit, number.length[0]):
            return number.end[0] if ends_code(text, size, at, number.end[0]) else -1
        return -1
    groups = fitting_groups(number)
    while groups >= 3:
        digits = 0
        for i in range(groups):
            digits += number.length[i]
        if (
            is_issued(number.digit, digits)
            and luhn(number.digit, digits)
            and ends_code(text, size, at, number.end[groups - 1])
        ):
            return number.end[groups - 1]
        if groups != 5:
            break
        groups = 4
    return -1

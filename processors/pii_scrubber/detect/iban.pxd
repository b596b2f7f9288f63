"""IBANs (ISO 13616): the country's length and the check digits modulo 97 (ISO 7064)."""

from libc.stdint cimport uint8_t

from processors.pii_scrubber.detect.classes cimport ALNUM, DIGIT, LETTER, escape, has, lower, pii_class, starts_word

cdef extern from *:
    """
    static uint8_t pii_iban_length[26 * 26];
    """
    uint8_t pii_iban_length[676]

cdef enum:
    LONGEST_IBAN = 34
    DIGITS_ALONE = 128    # beside a length


cdef inline void fill_iban_lengths() except *:
    """Lengths from the SWIFT registry of IBANs, and of the countries that use them without being in it; `n` where the
    account is of digits alone, as the registry says: a hexadecimal id that begins with `be` is no IBAN of Belgium."""
    lengths = (
        "AD24 AE23n AL28 AT20n AZ28 BA20n BE16n BG22 BH22 BI27n BR29 BY28 CH21 CR22n CY28 CZ24n DE22n DJ27n DK18n "
        "DO28 EE20n EG29n ES24n FI18n FK18 FO18n FR27 GB22 GE22 GI23 GL18n GR27 GT28 HN28 HR21n HU28n IE22 IL23n "
        "IQ23 IS26n IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20n LU20 LV21 LY25n MC27 MD24 ME22n MK19 MN20n MR27n MT31 "
        "MU30 NI28 NL18 NO15n OM23 PK24 PL28n PS29 PT25n QA29 RO24 RS22n RU33 SA24 SC31 SD18n SE24n SI19n SK24n "
        "SM27 SO23n ST25n SV28 TL23n TN24n TR26 UA29 VA22n VG24 XK20n YE30 AO25 BF28 BJ28 CF27 CG27 CI28 CM27 CV25 "
        "DZ26 GA27 GQ27 GW25 IR26 KM27 MA28 MG27 ML28 MZ25 NE28 SN28 TD27 TG28"
    )
    for entry in lengths.split():
        length = int(entry[2:4]) | (DIGITS_ALONE if entry.endswith("n") else 0)
        pii_iban_length[(ord(entry[0]) - 65) * 26 + ord(entry[1]) - 65] = length


cdef inline Py_ssize_t iban_at(const uint8_t *text, Py_ssize_t size, Py_ssize_t at) noexcept nogil:
    """The end of the IBAN whose country code begins at `at`, or -1.

    Compact, or in groups of four with one separator between each two: a space, a dash, or what URLs make of a space.
    """
    cdef int country, length, count = 4, remainder = 0, value, check
    cdef Py_ssize_t here = at + 4
    cdef uint8_t byte, separator = 0
    cdef bint digits_alone
    if size - at < 15 or not (
        pii_class[text[at]] & LETTER and pii_class[text[at + 1]] & LETTER
        and pii_class[text[at + 2]] & DIGIT and pii_class[text[at + 3]] & DIGIT
    ):
        return -1
    country = (lower(text[at]) - 97) * 26 + lower(text[at + 1]) - 97
    length = pii_iban_length[country] & ~DIGITS_ALONE
    digits_alone = pii_iban_length[country] & DIGITS_ALONE
    if length == 0 or not starts_word(text, at, ALNUM):
        return -1
    check = (text[at + 2] - 48) * 10 + text[at + 3] - 48
    if not 2 <= check <= 98:    # no others come out of the calculation
        return -1
    while count < length:
        if here >= size:
            return -1
        byte = text[here]
        if not pii_class[byte] & ALNUM:
            if count % 4 or (count != 4 and byte != separator):
                return -1
            separator = byte
            if byte == c"%":
                if escape(text, size, here) != c" ":
                    return -1
                here += 2
            elif byte == 0xC2:
                if not (here + 1 < size and text[here + 1] == 0xA0):
                    return -1
                here += 1
            elif byte != c" " and byte != c"-" and byte != c"+":
                return -1
            here += 1
            if not has(text, size, here, ALNUM):
                return -1
            byte = text[here]
        elif separator and count % 4 == 0:
            return -1
        if pii_class[byte] & DIGIT:
            remainder = (remainder * 10 + byte - 48) % 97
        elif digits_alone:
            return -1
        else:
            remainder = (remainder * 100 + lower(byte) - 87) % 97
        count += 1
        here += 1
    if has(text, size, here, ALNUM):
        return -1
    value = (lower(text[at]) - 87) * 100 + lower(text[at + 1]) - 87
    remainder = (remainder * 10000 + value) % 97
    return here if (remainder * 100 + check) % 97 == 1 else -1

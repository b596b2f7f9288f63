"""Tokens that say themselves what they are: vendors' prefixes, JSON Web Tokens, private keys in PEM."""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp

from processors.pii_scrubber.detect.classes cimport (
    ALNUM, BASE64, DIGIT, TOKEN, UPPER, escape, has, peek, pii_class, run, starts_word,
)

cdef extern from *:
    """
    typedef struct {
        const char *prefix;
        unsigned char length;     /* of the prefix */
        unsigned char kind;       /* CLOUD_KEY or API_KEY of kinds.pxd */
        unsigned char classes;    /* of the bytes that follow */
        unsigned char fewest;     /* how many of them there are; with the prefix at least SHORT of first_look.pxd */
        unsigned char most;       /* 0: any number */
        unsigned char mixed;      /* they must have a digit and both cases: the prefix alone says too little */
    } pii_vendor;
    enum { PII_CLOUD = 7, PII_API = 8, PII_WORD = 64, PII_ALNUM = 7, PII_CAPITALS = 3, PII_HEXES = 8 };
    static const pii_vendor pii_vendors[] = {
        {"AKIA", 4, PII_CLOUD, PII_CAPITALS, 16, 16, 0},          /* AWS access key ids */
        {"ASIA", 4, PII_CLOUD, PII_CAPITALS, 16, 16, 0},
        {"ABIA", 4, PII_CLOUD, PII_CAPITALS, 16, 16, 0},
        {"ACCA", 4, PII_CLOUD, PII_CAPITALS, 16, 16, 0},
        {"AIza", 4, PII_CLOUD, PII_WORD, 35, 35, 0},              /* Google API key */
        {"GOCSPX-", 7, PII_CLOUD, PII_WORD, 20, 0, 0},            /* Google OAuth client secret */
        {"SG.", 3, PII_API, PII_WORD, 22, 22, 0},                 /* SendGrid: a dot and 43 more */
        {"SK", 2, PII_API, PII_HEXES, 32, 32, 0},                 /* Twilio */
        {"dop_v1_", 7, PII_CLOUD, PII_HEXES, 64, 64, 0},          /* DigitalOcean */
        {"dckr_pat_", 9, PII_API, PII_WORD, 20, 0, 0},            /* Docker */
        {"ghp_", 4, PII_API, PII_WORD, 36, 0, 0},                 /* GitHub */
        {"gho_", 4, PII_API, PII_WORD, 36, 0, 0},
        {"ghu_", 4, PII_API, PII_WORD, 36, 0, 0},
        {"ghs_", 4, PII_API, PII_WORD, 36, 0, 0},
        {"ghr_", 4, PII_API, PII_WORD, 36, 0, 0},
        {"github_pat_", 11, PII_API, PII_WORD, 22, 0, 0},
        {"glpat-", 6, PII_API, PII_WORD, 20, 0, 0},               /* GitLab */
        {"glsa_", 5, PII_API, PII_WORD, 32, 0, 0},                /* Grafana */
        {"gsk_", 4, PII_API, PII_ALNUM, 40, 0, 0},                /* Groq */
        {"hvs.", 4, PII_CLOUD, PII_WORD, 24, 0, 0},               /* HashiCorp Vault */
        {"hf_", 3, PII_API, PII_ALNUM, 30, 0, 0},                 /* Hugging Face */
        {"npm_", 4, PII_API, PII_ALNUM, 36, 36, 0},               /* npm */
        {"nvapi-", 6, PII_API, PII_WORD, 40, 0, 0},               /* NVIDIA */
        {"pypi-AgE", 8, PII_API, PII_WORD, 30, 0, 0},             /* PyPI */
        {"rk_live_", 8, PII_API, PII_ALNUM, 16, 0, 0},
        {"rk_test_", 8, PII_API, PII_ALNUM, 16, 0, 0},
        {"sk_live_", 8, PII_API, PII_ALNUM, 16, 0, 0},            /* Stripe */
        {"sk_test_", 8, PII_API, PII_ALNUM, 16, 0, 0},
        {"sk-", 3, PII_API, PII_WORD, 20, 0, 1},                  /* OpenAI, Anthropic and others that follow them */
        {"shpat_", 6, PII_API, PII_HEXES, 32, 32, 0},             /* Shopify */
        {"whsec_", 6, PII_API, PII_ALNUM, 24, 0, 0},
        {"xoxb-", 5, PII_API, PII_WORD, 20, 0, 0},                /* Slack */
        {"xoxp-", 5, PII_API, PII_WORD, 20, 0, 0},
        {"xoxa-", 5, PII_API, PII_WORD, 20, 0, 0},
        {"xoxr-", 5, PII_API, PII_WORD, 20, 0, 0},
        {"xoxs-", 5, PII_API, PII_WORD, 20, 0, 0},
        {"xoxe-", 5, PII_API, PII_WORD, 20, 0, 0},
        {"xoxc-", 5, PII_API, PII_WORD, 20, 0, 0},
        {"xoxd-", 5, PII_API, PII_WORD, 20, 0, 0},
        {"xapp-", 5, PII_API, PII_WORD, 20, 0, 0},
        {"ya29.", 5, PII_CLOUD, PII_WORD, 20, 0, 0},              /* Google OAuth access token */
        {0, 0, 0, 0, 0, 0, 0}
    };
    static const pii_vendor *pii_vendors_of[256];    /* the first that begins with a byte */
    """
    ctypedef struct pii_vendor:
        const char *prefix
        uint8_t length
        uint8_t kind
        uint8_t classes
        uint8_t fewest
        uint8_t most
        uint8_t mixed
    const pii_vendor pii_vendors[]
    const pii_vendor *pii_vendors_of[256]

cdef enum:
    LONGEST_PLAIN = 64        # so soon a token that must be mixed is
    LONGEST_HEADER = 4096     # of a JWT, in base64; a longer one needs `eyJ` at its payload, too
    SECRET_OF_AWS = 40


cdef inline void index_vendors() noexcept:
    """Fill `pii_vendors_of`. The vendors stand in the order of their first letters."""
    cdef const pii_vendor *vendor = pii_vendors
    while vendor.length:
        if pii_vendors_of[<uint8_t>vendor.prefix[0]] == NULL:
            pii_vendors_of[<uint8_t>vendor.prefix[0]] = vendor
        vendor += 1


cdef inline bint is_mixed(const uint8_t *text, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Whether there is a digit, an upper and a lower case letter in [at, end)."""
    cdef uint8_t seen = 0
    while at < end and (seen & ALNUM) != ALNUM:
        seen |= pii_class[text[at]]
        at += 1
    return (seen & ALNUM) == ALNUM


cdef inline Py_ssize_t end_of_partner(const uint8_t *text, Py_ssize_t size, Py_ssize_t at) noexcept nogil:
    """Where the secret ends that stands a few separators behind an AWS key id: 40 characters of base64; or -1."""
    cdef Py_ssize_t start = at
    cdef int count = 0, plain
    while start < size and start < at + 9:
        plain = escape(text, size, start)
        if plain == c"+" or plain == c"/":
            break
        if plain < 0 and text[start] not in b" +:,;|\t\"'":
            break
        start += 1 if plain < 0 else 3
    if start == at:
        return -1
    while start < size and count <= SECRET_OF_AWS:
        plain = escape(text, size, start)
        if plain >= 0 and (plain > 127 or not pii_class[plain] & BASE64):
            break
        if plain < 0 and not pii_class[text[start]] & BASE64:
            break
        start += 1 if plain < 0 else 3
        count += 1
    return start if count == SECRET_OF_AWS else -1


cdef inline Py_ssize_t vendor_at(const uint8_t *text, Py_ssize_t size, Py_ssize_t at, int *kind) noexcept nogil:
    """The end of the vendor's token that begins at `at`, or -1; its kind. No letter or digit may stand before `at`.

    A failed look reads a bounded distance, for in `sk-sk-sk-` every third byte begins one.
    """
    cdef const pii_vendor *vendor = pii_vendors_of[text[at]]
    cdef Py_ssize_t end, secret
    if vendor == NULL:
        return -1
    while not (vendor.length < size - at and memcmp(text + at, vendor.prefix, vendor.length) == 0):
        vendor += 1
        if vendor.length == 0 or <uint8_t>vendor.prefix[0] != text[at]:
            return -1
    secret = at + vendor.length
    if vendor.mixed:
        end = run(text, min(size, secret + LONGEST_PLAIN), secret, vendor.classes)
        if not is_mixed(text, secret, end):
            return -1
    # what has a certain length ends there, also where `_` or `-` go on
    end = run(text, min(size, secret + vendor.most) if vendor.most else size, secret, vendor.classes)
    if end - secret < vendor.fewest or has(text, size, end, ALNUM):
        return -1
    kind[0] = vendor.kind
    if text[at] == c"S" and text[at + 1] == c"G":
        if peek(text, size, end) != c".":
            return -1
        secret = end + 1
        end = run(text, size, secret, TOKEN)
        return end if end - secret >= 40 else -1
    if vendor.classes == (UPPER | DIGIT):
        # the secret of an AWS key that stands next to its id is part of what must go
        secret = end_of_partner(text, size, end)
        if secret > 0:
            end = secret
    return end


cdef inline int sextet(uint8_t byte) noexcept nogil:
    if 65 <= byte <= 90:
        return byte - 65
    if 97 <= byte <= 122:
        return byte - 71
    if 48 <= byte <= 57:
        return byte + 4
    return 62 if byte == c"-" else 63


cdef inline bint names_algorithm(const uint8_t *text, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Whether the base64url in [at, end) decodes to an object with the member `alg` (RFC 7515, section 4.1.1)."""
    cdef uint32_t bits = 0, window = 0
    cdef int count = 0
    cdef Py_ssize_t i
    cdef uint8_t byte
    for i in range(at, end):
        bits = bits << 6 | sextet(text[i])
        count += 6
        if count >= 8:
            count -= 8
            byte = bits >> count & 255
            if byte == c"\"" and window == 0x22616C67:    # after "alg
                return True
            window = window << 8 | byte
    return False


cdef inline Py_ssize_t jwt_at(const uint8_t *text, Py_ssize_t size, Py_ssize_t at) noexcept nogil:
    """The end of the compact JWS or JWE that begins with the `eyJ` at `at`, or -1.

    A header ends before the next `-eyJ` or `_eyJ`, too: JSON is not encoded so, but names are put together so. No byte
    is therefore read for two headers.
    """
    cdef Py_ssize_t header = at, end, third = 0
    cdef int parts = 1
    while header < size and pii_class[text[header]] & TOKEN and not (
        not pii_class[text[header]] & ALNUM and size - header > 4
        and memcmp(text + header + 1, <const char *>b"eyJ", 3) == 0
    ):
        header += 1
    if header - at < 12 or peek(text, size, header) != c".":
        return -1
    if not names_algorithm(text, at, min(header, at + LONGEST_HEADER)):
        if header - at <= LONGEST_HEADER or not (
            size - header > 4 and memcmp(text + header + 1, <const char *>b"eyJ", 3) == 0
        ):
            return -1
    end = header
    # the payload's part is empty where a JWE has no encrypted key
    while parts < 5 and peek(text, size, end) == c"." and (
        has(text, size, end + 1, TOKEN) or (parts == 1 and peek(text, size, end + 1) == c".")
    ):
        end = run(text, size, end + 1, TOKEN)
        parts += 1
        if parts == 3:
            third = end
    if parts == 4:
        end = third    # three parts or five; what follows is a file's ending
    return end if end > header + 1 else -1


cdef inline Py_ssize_t find(
    const uint8_t *text, Py_ssize_t size, Py_ssize_t at, const char *word, Py_ssize_t length
) noexcept nogil:
    while at <= size - length:
        if text[at] == <uint8_t>word[0] and memcmp(text + at, word, length) == 0:
            return at
        at += 1
    return -1


cdef inline Py_ssize_t private_key_at(const uint8_t *text, Py_ssize_t size, Py_ssize_t at) noexcept nogil:
    """The end of the PEM block of a private key that begins at `at`, or -1; of a cut one, the end of the text."""
    cdef Py_ssize_t label, end
    if size - at < 26 or memcmp(text + at, <const char *>b"-----BEGIN ", 11) != 0:
        return -1
    label = find(text, min(size, at + 60), at + 11, b"-----", 5)
    if label < 0 or find(text, label, at + 11, b"PRIVATE KEY", 11) < 0:
        return -1
    end = find(text, size, label + 5, b"-----END ", 9)
    if end < 0:
        return size
    label = find(text, min(size, end + 60), end + 9, b"-----", 5)
    return label + 5 if label > 0 else size

"""The numbers of the kinds, as `kinds.py` gives them."""

cdef enum:
    EMAIL = 1
    PHONE = 2
    CARD = 3
    IBAN = 4
    IPV4 = 5
    IPV6 = 6
    CLOUD_KEY = 7
    API_KEY = 8
    JWT = 9
    PRIVATE_KEY = 10
    SECRET = 11

"""Attribute keys and the action of each: open addressing on a seeded hash, because keys come from the network.

An action is a byte: the number of an action, and the flag SUSPECT where the key itself may hold something personal.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy

from processors.pii_scrubber.text cimport same_text, text_hash

cdef enum:
    SUSPECT = 0x80
    FEWEST_SLOTS = 1024
    UNKNOWN_KEY = -1
    HEAD = 32
    KEY_TAG = 0x0A           # of a `KeyValue`
    VALUE_TAG = 0x12


cdef struct KeySlot:
    uint64_t hash            # 0: empty
    uint64_t offset          # of the key in `text`
    uint32_t size
    uint32_t next            # slot of the key that came after it last time
    uint32_t no_head         # a bit for each byte of `head` that isn't
    uint8_t head_size        # 0: longer than HEAD
    uint8_t action
    uint8_t[HEAD] head       # how a `KeyValue` of this key begins: tag, length, key, tag of the value


cdef struct KeyTable:
    KeySlot* slots           # a power of two of them
    uint64_t capacity
    uint64_t count
    uint8_t* text
    size_t used
    size_t room
    uint64_t seed
    uint32_t last            # slot of the key that was found last


cdef inline void free_keys(KeyTable* table) noexcept nogil:
    free(table.slots)
    free(table.text)
    table.slots = NULL
    table.text = NULL
    table.capacity = table.count = table.used = table.room = 0
    table.last = 0


cdef inline int find_key(KeyTable* table, const uint8_t* key, size_t size) noexcept nogil:
    """The key's action, or UNKNOWN_KEY.

    Instrumentation writes its keys in the same order again and again, so the key is first compared with the one that
    came after the last one before.
    """
    cdef KeySlot* slot
    cdef uint32_t guess
    if table.capacity == 0:
        return UNKNOWN_KEY
    guess = table.slots[table.last].next
    slot = &table.slots[guess]
    if slot.size == size and slot.hash and same_text(table.text + slot.offset, key, size):
        table.last = guess
        return slot.action
    return search_key(table, key, size)


cdef inline int search_key(KeyTable* table, const uint8_t* key, size_t size) noexcept nogil:
    """The same without the guess."""
    cdef uint64_t hashed = text_hash(key, size, table.seed) | 1
    cdef uint64_t i = (hashed >> 7) & (table.capacity - 1)
    cdef const KeySlot* slot
    while True:
        slot = &table.slots[i]
        if slot.hash == hashed and slot.size == size and same_text(table.text + slot.offset, key, size):
            table.slots[table.last].next = <uint32_t>i
            table.last = <uint32_t>i
            return slot.action
        if slot.hash == 0:
            return UNKNOWN_KEY
        i = (i + 1) & (table.capacity - 1)


cdef inline int grow_keys(KeyTable* table) noexcept nogil:
    cdef uint64_t capacity = table.capacity * 2 if table.capacity else FEWEST_SLOTS, i, place
    cdef KeySlot* slots = <KeySlot*>calloc(capacity, sizeof(KeySlot))
    if slots == NULL:
        return -1
    for i in range(table.capacity):
        if table.slots[i].hash:
            place = (table.slots[i].hash >> 7) & (capacity - 1)
            while slots[place].hash:
                place = (place + 1) & (capacity - 1)
            slots[place] = table.slots[i]
            slots[place].next = 0        # places have changed; any will do
    free(table.slots)
    table.slots = slots
    table.capacity = capacity
    table.last = 0
    return 0


cdef inline int add_key(KeyTable* table, const uint8_t* key, size_t size, uint8_t action) noexcept nogil:
    """Add a key that isn't there. Returns -1 when there is no memory."""
    cdef uint64_t hashed = text_hash(key, size, table.seed) | 1
    cdef uint64_t i
    cdef uint8_t* text
    if table.count * 2 >= table.capacity and grow_keys(table) < 0:
        return -1
    if table.room - table.used < size:
        text = <uint8_t*>realloc(table.text, table.room * 2 + size + 4096)
        if text == NULL:
            return -1
        table.text = text
        table.room = table.room * 2 + size + 4096
    if size:
        memcpy(table.text + table.used, key, size)
    i = (hashed >> 7) & (table.capacity - 1)
    while table.slots[i].hash:
        i = (i + 1) & (table.capacity - 1)
    table.slots[i].hash = hashed
    table.slots[i].offset = table.used
    table.slots[i].size = <uint32_t>size
    table.slots[i].action = action
    if size + 3 <= HEAD:
        table.slots[i].head_size = <uint8_t>(size + 3)
        table.slots[i].no_head = <uint32_t>~((<uint64_t>1 << (size + 3)) - 1)
        table.slots[i].head[0] = KEY_TAG
        table.slots[i].head[1] = <uint8_t>size
        memcpy(&table.slots[i].head[2], key, size)
        table.slots[i].head[size + 2] = VALUE_TAG
    table.used += size
    table.count += 1
    return 0


cdef inline bint matches_glob(const uint8_t* glob, size_t glob_size, const uint8_t* key, size_t size) noexcept nogil:
    """Whether the whole key is as the glob says: `*` is any run of bytes, all else itself. Goes back to the last `*`
    alone, so it takes at most `glob_size` times `size` steps."""
    cdef size_t g = 0, k = 0, star = glob_size, mark = 0
    if glob_size and size and (
        (glob[glob_size - 1] != c'*' and glob[glob_size - 1] != key[size - 1])
        or (glob[0] != c'*' and glob[0] != key[0])
    ):
        return False             # as most keys and globs are
    while k < size:
        if g < glob_size and glob[g] == c'*':
            star = g
            g += 1
            mark = k
        elif g < glob_size and glob[g] == key[k]:
            g += 1
            k += 1
        elif star != glob_size:
            g = star + 1
            mark += 1
            k = mark
        else:
            return False
    while g < glob_size and glob[g] == c'*':
        g += 1
    return g == glob_size

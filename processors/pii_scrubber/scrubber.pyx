"""The scrubber of OTLP requests: walks, settles with the GIL what the walk left pending, and copies (see the .pyi)."""

import os

from collector.api import Malformed
from processors.pii_scrubber.actions import CUSTOM, FAILURES, MASKED, REDACTED, RULES
from processors.pii_scrubber.detect.kinds import BLOCKED, Kind
from processors.pii_scrubber.fields import MESSAGES, REQUESTS
from processors.pii_scrubber.values import holds_inside, mask_addresses, number_text, scrub_state

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy, memset

from processors.pii_scrubber.detect.wide_look cimport WIDE
from processors.wire.edits cimport NOTHING, Edit, add_up, copy_edited, free_edits, new_bytes
from processors.pii_scrubber.key_table cimport SUSPECT, UNKNOWN_KEY, add_key, find_key, free_keys
from processors.pii_scrubber.recent cimport make_recent, remember_clean, remember_digest
from processors.pii_scrubber.text cimport is_utf8
from processors.pii_scrubber.leaves cimport put, put_hash
from processors.pii_scrubber.walk cimport walk_message
from processors.pii_scrubber.walk_state cimport (
    ADDRESS, ADDRESS_OR_LOOK, BAD_UTF8, BY_HASH, BY_LENGTH, BY_MASK, BY_REDACT, BY_RULE, COUNTS, DIGEST, HASH,
    INTERNAL, LENGTH_OF, LOOK, LOOK_AT_STATE, LOOK_INSIDE, MALFORMED, MASK, MEANING, OF_BYTES, OF_NUMBER,
    OUT_OF_MEMORY, REDACT, Text, UNKNOWN_FIELD, UNLISTED, Walk,
)
from processors.wire.fields cimport varint_size, write_varint

cdef enum:
    KEY_BYTES = 1 << 20      # of keys that are remembered
    MOST_ACTIONS = 127
    MOST_GLOBS = 256
    LONGEST_PREFIX = 64


KINDS_BY_NUMBER = {int(kind): kind.name.lower() for kind in Kind} | {BLOCKED: "blocked"}


cdef class Scrubber(Walk):
    cdef object digest
    cdef object resolve
    cdef object allowed
    cdef dict exact
    cdef dict names              # findings by a name that has no place in `kinds`
    cdef tuple held              # whose bytes the walk points to
    cdef bint busy

    def __init__(
        self, detectors not None, rules, *, digest, bytes prefix=b"", allowed=None, longest=262144, numbers=False,
    ):
        cdef int i
        if self.held is not None:
            raise RuntimeError("a scrubber is made once")
        if len(rules.actions) > MOST_ACTIONS or len(rules.globs) > MOST_GLOBS or len(prefix) > LONGEST_PREFIX:
            raise ValueError("at most 127 distinct actions, 256 globs, and 64 bytes before a hash")
        self.detectors = detectors
        self.digest = digest
        self.resolve = rules.resolve
        self.asking = rules.resolve is not None
        self.allowed = allowed
        self.allowing = allowed is not None
        self.longest = longest
        self.numbers = numbers
        self.names = {}
        self.held = tuple(rules.actions), tuple(rules.globs)
        for i in range(len(rules.actions)):
            self.doings[i].what = rules.actions[i].what
            self.doings[i].mask = <const uint8_t*>PyBytes_AS_STRING(rules.actions[i].mask)
            self.doings[i].mask_size = len(rules.actions[i].mask)
        for i in range(256):
            self.easy[i] = <uint8_t>self.doings[i].what if i < len(rules.actions) else UNLISTED
        self.quick = WIDE and not self.detectors.patterned
        for i in range(len(rules.globs)):
            self.globs[i].text = <const uint8_t*>PyBytes_AS_STRING(rules.globs[i][0])
            self.globs[i].size = len(rules.globs[i][0])
            self.globs[i].action = rules.globs[i][1]
        self.glob_count = len(rules.globs)
        self.otherwise = rules.otherwise
        self.prefix_size = len(prefix)
        memcpy(self.prefix, PyBytes_AS_STRING(prefix), self.prefix_size)
        self.keys.seed = int.from_bytes(os.urandom(8), "little")
        if make_recent(
            &self.recent, int.from_bytes(os.urandom(8), "little"), int.from_bytes(os.urandom(8), "little")
        ) < 0:
            raise MemoryError
        self.exact = dict(rules.exact)
        self.mark()
        self.start_over()

    cdef int mark(self) except -1:
        """See whether what stands in for a finding is the same for all of its kind."""
        marks = {kind: self.detectors.replacement(kind, b"a") for kind in Kind}
        other = {kind: self.detectors.replacement(kind, b"b") for kind in marks}
        self.plain = not self.detectors.patterned and marks == other
        for kind, text in marks.items():
            self.marks[<int>kind].at = <const uint8_t*>PyBytes_AS_STRING(text)
            self.marks[<int>kind].size = PyBytes_GET_SIZE(text)
        self.held += (marks,)
        return 0

    cdef int start_over(self) except -1:
        """Forget the keys that came from the network."""
        free_keys(&self.keys)
        for key, action in self.exact.items():
            self.learn(key, action)
        return 0

    cdef int learn(self, bytes key, uint8_t action) except -1:
        cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(key)
        cdef size_t size = PyBytes_GET_SIZE(key)
        if self.detectors.may_hold(at, size) or not is_utf8(at, size):
            action |= SUSPECT
        if add_key(&self.keys, at, size, action) < 0:
            raise MemoryError
        return 0

    cdef int ask(self) except -1:
        """Learn the keys that the walk did not know."""
        cdef size_t i
        cdef Text* key
        for i in range(self.stranger_count):
            key = &self.strangers[i]
            if find_key(&self.keys, key.at, key.size) == UNKNOWN_KEY:
                name = PyBytes_FromStringAndSize(<const char*>key.at, key.size)
                self.learn(name, self.resolve(name))
        return 0

    def take_counts(self):
        findings = {name: self.counts[i] for i, name in enumerate(RULES) if self.counts[i]}
        failures = {name: self.counts[BAD_UTF8 + i] for i, name in enumerate(FAILURES)}
        findings |= self.names
        findings |= {name: self.kinds[kind] for kind, name in KINDS_BY_NUMBER.items() if self.kinds[kind]}
        memset(self.counts, 0, sizeof(self.counts))
        memset(self.kinds, 0, sizeof(self.kinds))
        self.names = {}
        return findings, {name: count for name, count in failures.items() if count}

    def scrub(self, str signal not None, bytes payload not None):
        cdef int message = MESSAGES.index(REQUESTS[signal]), problem
        cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(payload)
        cdef const uint8_t* end = at + PyBytes_GET_SIZE(payload)
        cdef uint64_t[COUNTS] before
        if self.busy:
            raise RuntimeError("a scrubber works on one request at a time")
        self.busy = True
        self.limit = end
        memcpy(before, self.counts, sizeof(before))
        try:
            with nogil:
                problem = walk_message(self, message, at, end, NULL)
            if problem == 0 and self.stranger_count:
                self.ask()
                free_edits(&self.edits)
                memcpy(self.counts, before, sizeof(before))
                with nogil:
                    problem = walk_message(self, message, at, end, NULL)
            if problem == MALFORMED:
                raise Malformed("not an OTLP request")
            if problem == OUT_OF_MEMORY:
                raise MemoryError
            return self.edited(payload) if self.edits.count else None
        finally:
            free_edits(&self.edits)
            self.stranger_count = 0
            if self.keys.used > KEY_BYTES:
                self.start_over()
            self.busy = False

    cdef bytes edited(self, bytes payload):
        """The payload after all edits, or None when none of them changes it."""
        cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(payload)
        cdef uint64_t before = PyBytes_GET_SIZE(payload), size = before
        cdef bytes out
        cdef uint8_t* target
        self.settle()
        if not add_up(&self.edits, &size):
            return None
        out = PyBytes_FromStringAndSize(NULL, size)
        target = <uint8_t*>PyBytes_AS_STRING(out)
        with nogil:
            copy_edited(&self.edits, at, at + before, target)
        return out

    cdef int settle(self) except -1:
        """Settle all that is pending. What fails is redacted."""
        cdef Py_ssize_t i
        cdef Edit* edit
        cdef int pending
        cdef bytes text, new
        for i in range(self.edits.count):
            edit = &self.edits.list[i]
            pending = edit.pending
            if not pending:
                continue
            edit.pending = 0
            text = PyBytes_FromStringAndSize(<const char*>edit.out, edit.out_size)
            if pending == LOOK_INSIDE:
                self.settle_unknown(edit, text)
                continue
            try:
                if pending & ~OF_BYTES == DIGEST:
                    new = self.digested(text)
                    if not put_hash(self, edit, <const uint8_t*>PyBytes_AS_STRING(new), PyBytes_GET_SIZE(new)):
                        raise MemoryError
                    continue
                if pending & OF_NUMBER:
                    text = number_text(text)
                new = self.replacement(text, pending & MEANING, edit.action)
                if new is not None and not pending & OF_BYTES and not is_utf8(
                    <const uint8_t*>PyBytes_AS_STRING(new), len(new)
                ):
                    raise ValueError("a replacement is not UTF-8")
            except MemoryError:
                raise
            except Exception:    # it may quote what it failed on
                self.counts[INTERNAL] += 1
                new = REDACTED
            if new is None or new == text:
                edit.shape = NOTHING
                if pending & MEANING == LOOK and not pending & OF_NUMBER:
                    remember_clean(&self.recent, edit.out, edit.out_size)
            elif not self.put_field(edit, new, pending & OF_NUMBER):
                raise MemoryError
        return 0

    cdef int settle_unknown(self, Edit* edit, bytes field) except -1:
        """An unknown field goes when anything is found in it, or when it can't be looked at."""
        try:
            goes = holds_inside(field, self.detectors.find)
        except MemoryError:
            raise
        except Exception:        # it may quote what it failed on
            goes = True
        if goes:
            self.counts[UNKNOWN_FIELD] += 1
            edit.out_size = 0
        else:
            edit.shape = NOTHING
        return 0

    cdef bint put_field(self, Edit* edit, bytes new, bint whole):
        """Settle an edit by `new`, or, where it takes the place of the `whole` field, by a string field of it."""
        cdef const uint8_t* text = <const uint8_t*>PyBytes_AS_STRING(new)
        cdef size_t size = PyBytes_GET_SIZE(new)
        cdef uint8_t* made
        if not whole:
            return put(self, edit, text, size)
        made = new_bytes(&self.edits, 1 + varint_size(size) + size)
        if made == NULL:
            return False
        edit.out = made
        edit.out_size = 1 + varint_size(size) + size
        made[0] = 0x0A           # AnyValue.string_value
        memcpy(write_varint(made + 1, size), text, size)
        return True

    cdef bytes replacement(self, bytes text, int meaning, int action):
        """What takes the place of `text`, or None when it stays."""
        if meaning == LOOK:
            return self.look(text)
        if meaning == LOOK_AT_STATE:
            return scrub_state(text, self.look)
        if meaning == DIGEST:
            return self.hashed(text)
        if meaning == BY_RULE:
            return None if self.allowed(text) else self.by_rule(text, action)
        if self.doings[action].mask_size:
            self.counts[BY_MASK] += 1
            return self.held[0][action].mask
        new = mask_addresses(text)
        if new is None and meaning == ADDRESS_OR_LOOK:
            return self.look(text)
        if new != text:
            self.counts[BY_MASK] += 1
        return MASKED if new is None else new

    cdef bytes by_rule(self, bytes text, int action):
        """What an action makes of a value that isn't allowed."""
        cdef int what = self.doings[action].what
        if what == HASH:
            return self.hashed(text)
        if what == REDACT:
            self.counts[BY_REDACT] += 1
            return REDACTED
        if what == LENGTH_OF:
            self.counts[BY_LENGTH] += 1
            return b"%d" % len(text.decode("utf-8", "replace"))
        return self.replacement(text, ADDRESS if what == MASK else ADDRESS_OR_LOOK, action)

    cdef bytes hashed(self, bytes text):
        """The whole of what takes the place of `text`."""
        return self.prefix[:self.prefix_size] + self.digested(text).hex().encode()

    cdef bytes digested(self, bytes text):
        """The digest of `text`, which is remembered and counted."""
        cdef bytes digest = self.digest(text)
        remember_digest(
            &self.recent, <const uint8_t*>PyBytes_AS_STRING(text), len(text),
            <const uint8_t*>PyBytes_AS_STRING(digest), len(digest),
        )
        self.counts[BY_HASH] += 1
        return digest

    cpdef bytes look(self, bytes text):
        """What detectors make of `text`, or None when they find nothing."""
        cdef bytes new = self.detectors.scrub(text)
        if new is not None:
            for finding in self.detectors.find(text):
                if finding.kind in KINDS_BY_NUMBER:
                    self.kinds[<int>finding.kind] += 1
                else:
                    self.names[CUSTOM] = self.names.get(CUSTOM, 0) + 1
        return new

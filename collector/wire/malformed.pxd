cdef enum:
    LARGEST = 0x7fffffff    # bytes of a request

cdef int check_size(bytes payload) except -1
cdef int raise_fault(int fault) except -1

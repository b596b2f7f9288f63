cdef tuple hash_points(bytes payload, Py_ssize_t count)

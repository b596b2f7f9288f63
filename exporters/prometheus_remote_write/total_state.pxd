from exporters.prometheus_remote_write.total cimport Total


cdef bytes name_of(const Total* total)
cdef bytes row_of(Total* total)
cdef Total* total_of(bytes name, bytes row) except NULL

# One function, for cimport alone.

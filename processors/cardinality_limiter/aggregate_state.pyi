# Functions for cimport alone.

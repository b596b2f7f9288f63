"""Hashes of data points and of the series they belong to; see `PointIndex`."""

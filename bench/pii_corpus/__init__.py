"""A labelled corpus for the PII detectors: values of every kind in realistic surroundings, and what looks like them.

Made from a seed, from public knowledge of the formats, and without a look at the detectors' own tables.
`python -m bench.pii_corpus` prints precision and recall per kind.
"""

"""Options of `exemplar_linker`."""

from collector.api import Duration, Options, option, seconds


class ExemplarLinkerOptions(Options):
    """`exemplar_linker`."""

    max_wait: Duration = option(
        seconds(60),
        about="Longest time that a record waits for the verdicts of its exemplars' traces; more than `decision_wait`.",
        gt=0,
        le=seconds(3600),
    )
    swap: bool = option(
        True,
        about="Put the last exemplar of a kept trace, of the same series and bucket, in place of one that goes.",
    )
    remembered_exemplars: int = option(
        10_000, about="Exemplars of kept traces that are remembered for that, of a kilobyte each at the most.", ge=0
    )
    keep_exemplar_traces: bool = option(
        False, about="Ask the sampler of this process to keep the traces that exemplars point at."
    )

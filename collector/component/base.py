"""What every component is: a `Config`, a constructor, a start and a stop. It looks nothing up; all of it is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from collector.batch import Signal
from collector.component.trace_board import TraceBoard
from collector.options import Options
from collector.telemetry.meter import Meter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from logging import Logger

    from collector.component.connector import Reader


def _no_memory_figure() -> int:
    return 0


@dataclass(frozen=True, slots=True)
class BuildContext:
    """What the service gives a component when it builds it.

    `id` is the name in the YAML (`otlp/backup`); `log` already says which component speaks; `data_dir` is where the
    service keeps files; `resident_bytes()` is the resident memory of the process; `signals` are those of the pipelines
    that name the component; `board` has the sampling verdicts that this process knows. `readers` are the pipelines of
    the whole file that read it, where it is a connector, in the file's order; None where that isn't known.
    """

    id: str
    log: Logger
    meter: Meter = field(default_factory=Meter)
    data_dir: Path = Path("butterfly-data")
    resident_bytes: Callable[[], int] = _no_memory_figure
    signals: frozenset[Signal] = frozenset(Signal)
    board: TraceBoard = field(default_factory=TraceBoard)
    readers: Sequence[Reader] | None = None


class Component:
    """Base of every component. A subclass names its `Config` and reads it as `self.config`.

    `signals` are the kinds of telemetry that it takes. A constructor must not touch the network or the disk.
    """

    Config: ClassVar[type[Options]] = Options
    signals: ClassVar[frozenset[Signal]] = frozenset(Signal)

    def __init__(self, config: Any, context: BuildContext) -> None:
        self.config = config
        self.context = context

    @classmethod
    def goes_by_verdicts(cls, config: Any) -> bool:
        """Whether one with this `config` looks up on `context.board` what samplers decided."""
        del config
        return False

    @classmethod
    def pins(cls, config: Any) -> str | None:
        """The option of `config`, where one is set, that has it ask for traces to be kept (`TraceBoard.pin`), which
        the samplers of the same process alone hear."""
        del config
        return None

    @property
    def id(self) -> str:
        """The component's name in the YAML."""
        return self.context.id

    def report(self) -> dict[str, Any] | None:
        """What it has to tell a person now, as JSON, for the admin server's `/report/<id>`; None when it has nothing.

        It is the operator who asks: names may be in it, values of the telemetry never.
        """
        return None

    @classmethod
    def problems(cls, config: Any) -> list[tuple[tuple[str | int, ...], str]]:
        """What is wrong with a valid-looking `config`, beyond what types can say: (path below the component, sentence).

        Called by `butterfly validate` and before a component is built; must not touch the network or the disk.
        """
        del config
        return []

    @classmethod
    def warnings(cls, config: Any) -> list[tuple[tuple[str | int, ...], str]]:
        """What will run but is surely not what was meant, in the same shape as `problems`."""
        del config
        return []


class Extension(Component):
    """Something beside the data path."""

    async def start(self) -> None:
        """Begin. Raises when it can't; the service then does not start."""

    async def stop(self) -> None:
        """End, within a second."""

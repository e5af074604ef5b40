"""The processes that work on one checkpoint: they agree after each step, and fail together."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from .errors import Error

T = TypeVar("T")


class Ranks:
    """The ranks of a process group; a single one without torch.distributed.

    world: the global ranks, by rank in the group.
    """

    def __init__(self, group: Any = None) -> None:
        import torch.distributed as dist

        self.group = group
        self.rank = 0
        self.world = [0]
        if dist.is_available() and dist.is_initialized():
            self.rank = dist.get_rank(group)
            self.world = dist.get_process_group_ranks(group)

    def gather(self, value: Any) -> list[Any]:
        """Returns every rank's value. All ranks must call it; values should be small."""
        if len(self.world) == 1:
            return [value]
        import torch.distributed as dist

        values = [None] * len(self.world)
        dist.all_gather_object(values, value, group=self.group)
        return values

    def together(self, step: Callable[[], T]) -> T:
        """Runs the step; returns when all ranks have run it. If one failed, all raise its Error.

        An interrupted rank raises the interruption itself, the others an Error that reports it.
        """
        failure = None
        result = None
        try:
            result = step()
        except BaseException as exception:
            failure = exception
        failures = self.gather(None if failure is None else _portable(failure))
        first = next((rank for rank, error in enumerate(failures) if error is not None), None)
        if first is None:
            return result  # type: ignore[return-value]
        if failure is not None and (len(self.world) == 1 or not isinstance(failure, Exception)):
            raise failure
        raise failures[first].within(f"rank {self.world[first]}") from failure

    def agree(self, values: dict[str, Any]) -> None:
        """Raises the same Error on all ranks if their values for a name differ."""
        everyone = self.gather(values)
        for rank, theirs in enumerate(everyone):
            for name, value in everyone[0].items():
                if theirs[name] != value:
                    expected = f"{value!r}, as on rank {self.world[0]}"
                    found = f"{theirs[name]!r} on rank {self.world[rank]}"
                    text = f"the ranks give different values for {name}"
                    raise Error(
                        f"{text}; expected {expected}, found {found}",
                        "invalid_argument",
                        "usage",
                        expected=expected,
                        found=found,
                    )

    def on_first(self, step: Callable[[], Any]) -> None:
        """Runs the step on the first rank; otherwise like together()."""
        self.together(step if self.rank == 0 else lambda: None)


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Defers Ctrl-C to the end: a rank that stops between messages would leave others waiting."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is None:
        yield
        return
    caught: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: caught.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if caught:
        signal.raise_signal(signal.SIGINT)


def _portable(exception: BaseException) -> Error:
    """The exception as an Error that can be sent to other ranks."""
    if isinstance(exception, Error):
        return exception
    text = f"{type(exception).__name__}: {exception}".removesuffix(": ")
    if not isinstance(exception, Exception):
        return Error(text, "cancelled", "cancelled")
    if isinstance(exception, MemoryError):
        return Error(text, "not_enough_memory", "limit")
    if isinstance(exception, OSError):
        return Error(text, "io_error", "system")
    return Error(text, "invalid_argument", "usage")

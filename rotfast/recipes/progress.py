"""Progress of a training loop: a live bar in a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

__all__ = ["StepProgress"]

_SECONDS_BETWEEN_LINES = 15.0


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.1f} steps/s")


class StepProgress:
    """Shows how far a loop has come, its rate and the time left.

    Args:
        steps: Number of steps of the whole run.
        done: Steps done before, by the run that this one continues.
        console: Where to write; None is standard output.

    Example:
        >>> import io
        >>> console = Console(file=io.StringIO(), width=100)
        >>> with StepProgress(steps=2, console=console) as progress:
        ...     progress.advance()
        ...     progress.note("test loss 0.4")
        >>> console.file.getvalue().startswith("step 1/2  test loss 0.4")
        True
    """

    def __init__(self, steps: int, done: int = 0, console: Console | None = None) -> None:
        self._console = Console() if console is None else console
        self._steps, self._first, self._done = steps, done, done
        self._start = self._last_line = time.perf_counter()
        self._bar: Progress | None = None
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("step"),
                MofNCompleteColumn(),
                BarColumn(),
                _Rate(),
                TimeRemainingColumn(),
                TextColumn("{task.description}"),
                console=self._console,
            )
            self._task = self._bar.add_task("", total=steps, completed=done)

    def __enter__(self) -> StepProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self) -> None:
        """Count one step."""
        self._done += 1
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done)

    def show(self, text: str) -> None:
        """Say something that the next text replaces: beside the bar, or as a plain line when one is due."""
        if self._bar is not None:
            self._bar.update(self._task, description=text)
        elif time.perf_counter() - self._last_line > _SECONDS_BETWEEN_LINES:
            self.note(text)

    def note(self, text: str) -> None:
        """Write a line that stays."""
        line = f"step {self._done}/{self._steps}  {text}"
        if self._bar is None:
            self._last_line = time.perf_counter()
            line += f"  {self._pace()}"
        self._console.print(line, highlight=False, soft_wrap=True)

    def _pace(self) -> str:
        done = self._done - self._first
        if not done:
            return ""
        rate = done / max(time.perf_counter() - self._start, 1e-9)
        left = round((self._steps - self._done) / rate)
        return f"{rate:.1f} steps/s, {left // 60}:{left % 60:02d} left"

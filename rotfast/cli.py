"""The command line: rotfast train | evaluate | plot | predict | demo | doctor."""

from __future__ import annotations

import importlib
import shlex
import sys
from collections.abc import Callable, Sequence

__all__ = ["main"]

_USAGE = """\
usage: rotfast COMMAND ...

  train msr        meta-learn symmetries: synthetic problems, rotated digits, rotated MNIST
  train rotnet     learn from rotations of unlabelled images, then from few labels
  train beta-vae   codes of rotated digits, and what they know of the rotation
  train one-shot   learn an embedding, then tell classes it never saw from one image each
  evaluate RUN     judge a run's checkpoint on many held-out tasks
  plot RUN         draw a run's figures
  predict RUN FILE say what an image file shows, and turn it upright
  demo beta-vae RUN
                   explore a trained code on a page in the browser
  doctor           versions, compiled kernels, devices

rotfast COMMAND --help says more."""

# Where a command's function lies, and the extras that it needs.
_COMMANDS = {
    "train": ("rotfast.recipes.commands", "recipes"),
    "evaluate": ("rotfast.recipes.commands", "recipes"),
    "plot": ("rotfast.recipes.commands", "recipes"),
    "predict": ("rotfast.recipes.commands", "recipes"),
    "demo": ("rotfast.demo.commands", "recipes,demo"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The arguments after the program's name; None takes those of the process.

    Returns:
        Exit code: 0 done, 2 something the user can mend, 130 stopped by Ctrl-C.

    Example:
        >>> main(["--help"])  # doctest: +ELLIPSIS
        usage: rotfast COMMAND ...
        0
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments in (["-h"], ["--help"]):
        print(_USAGE)
        return 0
    if arguments == ["doctor"]:
        print(importlib.import_module("rotfast.doctor").report())
        return 0
    if arguments and arguments[0] in _COMMANDS:
        return _run(arguments[0], arguments[1:])
    print(_USAGE, file=sys.stderr)
    return _fail(f"unknown command: {shlex.join(arguments)}" if arguments else "which command?")


def _run(name: str, arguments: list[str]) -> int:
    """Run a command; what the user can mend becomes a message instead of a traceback."""
    module, extras = _COMMANDS[name]
    try:
        commands = importlib.import_module(module)
    except ModuleNotFoundError as error:
        return _fail(f"{error}; rotfast {name} needs more packages: pip install 'rotfast[{extras}]'")
    run = importlib.import_module("rotfast.recipes.run")
    command: Callable[[list[str]], None] = getattr(commands, name)
    try:
        command(arguments)
    except run.RunError as error:
        return _fail(f"error: {error}")
    except run.RunStopped as stopped:
        return _fail(str(stopped), 130)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    return 0


def _fail(message: str, code: int = 2) -> int:
    print(f"rotfast: {message}", file=sys.stderr)
    return code

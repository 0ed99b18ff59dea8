"""`rotfast demo RECIPE RUN`: find the model of a run and serve its page."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from tyro.conf import Positional

from rotfast.demo.app import make_app
from rotfast.demo.server import bind, is_loopback, make_server, serve, url_of
from rotfast.recipes.run import RunError
from rotfast.recipes.seeds import recipe_of

__all__ = ["demo"]

_MODULES = {"beta-vae": "rotfast.demo.beta_vae"}


@dataclass(frozen=True)
class Demo:
    """Serve a page to explore the code of a trained autoencoder, until Ctrl-C."""

    recipe: Positional[str]
    """Recipe of the run: beta-vae."""
    run: Positional[Path]
    """Run folder; of several seeds the first one's, or name RUN/seed-K."""
    host: str = "127.0.0.1"
    """Address to listen on. Another one than this machine's own lets everyone there use the page."""
    port: int = 8765
    """Port to listen on; 0 takes a free one."""


def demo(arguments: Sequence[str]) -> None:
    """rotfast demo RECIPE RUN.

    Args:
        arguments: those after the command's name.

    Raises:
        RunError: another recipe, no run, no checkpoint, or the port is taken.
    """
    options = tyro.cli(Demo, args=arguments, prog="rotfast demo")
    if options.recipe not in _MODULES:
        raise RunError(f"the recipe to explore must be one of {', '.join(_MODULES)}, got {options.recipe}")
    recipe = recipe_of(options.run)
    if recipe != options.recipe:
        raise RunError(f"{options.run} is a run of {recipe}, not of {options.recipe}")
    if not 0 <= options.port < 1 << 16:
        raise RunError(f"port must be from 0 to {(1 << 16) - 1}, got {options.port}")
    shown = importlib.import_module(_MODULES[recipe]).open_run(options.run)
    local = is_loopback(options.host)
    app = make_app(
        shown.explorer,
        title=shown.title,
        examples=shown.examples,
        **({} if local else {"hosts": ("*",)}),
    )
    try:
        listener = bind(options.host, options.port)
    except OSError as error:
        raise RunError(
            f"cannot listen on {options.host}, port {options.port}: {error}; choose another with --port"
        ) from error
    with listener:
        console = Console(highlight=False, soft_wrap=True)
        if not local:
            console.print("Everyone who reaches this machine can use the page.", style="yellow")
        console.print(f"{shown.title}: {url_of(listener)} (Ctrl-C ends it)")
        serve(make_server(app), listener)

"""The public names against a snapshot (``python tests/test_public_api.py`` writes it), and the layers."""

import ast
import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import rotfast

ROOT = Path(__file__).resolve().parent.parent
SNAPSHOT = ROOT / "tests" / "api_surface.json"
# Not for users: backends, their choice, and the command line's entry point.
INTERNAL = {"backend", "cli", "ops", "reference"}
# What each part may import of the package; the way is recipes, models, nn, functional, ops, torch.ops.
LAYERS = {
    "reference": set(),
    "backend": set(),
    "ops": {"backend", "reference"},
    "_checks": set(),
    "functional": {"_checks", "backend", "ops"},
    "nn": {"functional"},
    "transforms": {"functional"},
    "models": {"functional", "nn"},  # functional: routing multiplies only a part of a layer's weights
    "meta": {"nn"},
    "metrics": set(),
    "data": {"functional"},
    "plots": {"nn"},
    "demo": {"data", "functional", "models", "recipes"},
    "doctor": {"", "_C", "backend", "ops"},  # ops: which kernels are written in Triton
}


def modules() -> list[str]:
    found = (module.name for module in pkgutil.iter_modules(rotfast.__path__))
    return ["rotfast", *(f"rotfast.{name}" for name in found if name not in INTERNAL and name[0] != "_")]


def surface() -> dict[str, list[str]]:
    namespaces = {name: importlib.import_module(name) for name in modules()}
    return {name: sorted(space.__all__) for name, space in namespaces.items() if hasattr(space, "__all__")}


def imported_parts(path: Path) -> set[str]:
    """Parts of rotfast that a file imports, as 'nn' or 'functional'; '' stands for the package itself."""
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            under = node.module == "rotfast"
            names = [f"rotfast.{alias.name}" for alias in node.names] if under else [node.module]
        else:
            continue
        parts |= {f"{name}..".split(".")[1] for name in names if name.split(".")[0] == "rotfast"}
    return parts


def test_public_names_equal_the_snapshot():
    message = "public names changed; if that is wanted: python tests/test_public_api.py"
    assert surface() == json.loads(SNAPSHOT.read_text()), message


@pytest.mark.parametrize("module", surface())
def test_public_names_exist_and_are_documented(module):
    namespace = importlib.import_module(module)
    assert namespace.__doc__
    for name in namespace.__all__:
        value = getattr(namespace, name)
        if callable(value):
            assert value.__doc__, f"{module}.{name} has no docstring"


@pytest.mark.parametrize("part", LAYERS)
def test_layers_import_only_what_is_below_them(part):
    folder = ROOT / "rotfast" / part
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    for file in files:
        beyond = imported_parts(file) - LAYERS[part] - {part}
        assert not beyond, f"{file.relative_to(ROOT)} imports {sorted(beyond)}"


def test_the_library_needs_only_torch_and_numpy():
    optional = (
        "lightning",
        "matplotlib",
        "pooch",
        "rich",
        "safetensors",
        "sklearn",
        "starlette",
        "tyro",
        "yaml",
    )
    library = [part for part in LAYERS if part != "plots"]
    code = (
        f"import sys, {', '.join(f'rotfast.{part}' for part in library)}\n"
        f"print([name for name in {optional} if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(surface(), indent=2) + "\n")

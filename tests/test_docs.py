"""The documentation is true: code runs, links resolve, commands and tables are those of the code."""

import doctest
import importlib
import re
import shlex
from pathlib import Path

import pytest

import rotfast

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
each_page = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])


def blocks(page, language):
    """Code blocks of a language, each with the number of its first line."""
    text = page.read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, match.start(2)) + 1, match[2])
        for match in FENCE.finditer(text)
        if match[1] == language
    ]


def prose(page):
    """The page without its code blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def commands(page):
    """Shell commands in blocks without a language, comments and $ prompts taken off."""
    lines = (line for _, code in blocks(page, "") for line in code.splitlines())
    return [line.removeprefix("$ ").split("  #")[0].strip() for line in lines]


@each_page
def test_python_blocks_run(page):
    """The blocks of a page share one namespace, as a reader would type them."""
    code = blocks(page, "python")
    if any(word in block for word in ("metrics", "recipes", "synthetic") for _, block in code):
        for package in ("lightning_fabric", "safetensors", "sklearn"):
            pytest.importorskip(package)
    namespace = {"__name__": "docs"}
    for line, block in code:
        exec(compile("\n" * (line - 1) + block, str(page), "exec"), namespace)


@each_page
def test_sessions_print_what_they_show(page):
    globs = {}
    runner = doctest.DocTestRunner(verbose=False)
    for line, block in blocks(page, "pycon"):
        test = doctest.DocTestParser().get_doctest(block, globs, page.name, str(page), line - 1)
        runner.run(test, clear_globs=False)
        globs.update(test.globs)
    assert runner.summarize(verbose=False).failed == 0


def anchors(page):
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_links_resolve(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        other = (page.parent / name).resolve() if name else page
        assert other.exists(), f"{page.name}: {target} does not exist"
        assert other.is_relative_to(ROOT), f"{page.name}: {target} is outside the project"
        assert not anchor or anchor in anchors(other), f"{page.name}: no heading for {target}"


@each_page
def test_no_absolute_paths(page):
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"(?<![\w.:/<>*])(?:/|~/)(?:home|root|tmp|usr|opt|mnt|work|Users|var|data)\b\S*", text)
    assert not found


@each_page
def test_make_targets_exist(page):
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"`make ([\w-]+)", prose(page))
    named += [command.split()[1] for command in commands(page) if command.startswith("make ")]
    assert set(named) <= set(targets)


@each_page
def test_training_commands_are_understood(page):
    lines = [command for command in commands(page) if command.startswith("rotfast train ")]
    if not lines:
        return
    pytest.importorskip("tyro")
    for line in lines:
        _, _, recipe, *arguments = shlex.split(line)
        commands_module = importlib.import_module(f"rotfast.recipes.{recipe.replace('-', '_')}.commands")
        if "--resume" not in arguments:  # its folder would have to exist
            commands_module.train.parse(arguments)


def test_the_readme_names_all_that_is_public():
    missing = [name for name in rotfast.__all__ if f"`{name}`" not in (ROOT / "README.md").read_text()]
    assert not missing


def test_the_table_of_presets_is_the_codes():
    pytest.importorskip("lightning_fabric")
    from rotfast.recipes.msr.config import PROBLEMS, ROTATED, preset_config

    synthetic = [problem for problem in PROBLEMS if problem not in (*ROTATED, "omniglot")]

    page = (ROOT / "docs" / "recipes" / "msr.md").read_text(encoding="utf-8")
    table = re.search(r"^\| option .*\n\|[- |]+\n((?:\|.*\n)+)", page, re.MULTILINE)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1].splitlines()]
    columns = [
        (synthetic, "as-in-deck"),
        (synthetic, "recommended"),
        (["rotated-mnist"], "as-in-deck"),
        (["rotated-mnist"], "recommended"),
        (["omniglot"], "recommended"),
    ]
    for option, *values in rows:
        for value, (problems, preset) in zip(values, columns, strict=True):
            for problem in problems:
                assert str(getattr(preset_config(problem, preset), option)) == value, (option, problem)

"""CHANGELOG.md follows Keep a Changelog and says something about what is in the tree.

Checked: known headings, versions from new to old with dates and entries, and the package's version either
released under its own heading or described under Unreleased. In a checkout with a release tag, a change of
csrc/ or rotfast/ since that tag needs entries under Unreleased.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
RELEASE = re.compile(r"\[(\d+)\.(\d+)\.(\d+)\] - \d{4}-\d{2}-\d{2}")


def sections(text: str) -> dict[str, list[str]]:
    """Lines of each second-level section, by heading."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("## "):
            found[line.removeprefix("## ")] = []
        elif found:
            found[next(reversed(found))].append(line)
    return found


def problems(text: str, version: str, changed_since_release: bool) -> list[str]:
    """What is wrong with the changelog's text, in words."""
    found = sections(text)
    headings = list(found)
    if not headings or headings[0] != "[Unreleased]":
        return ["the first section must be '## [Unreleased]'"]
    wrong = [
        f"'## {heading}' is not '[x.y.z] - date'"
        for heading in headings[1:]
        if not RELEASE.fullmatch(heading)
    ]
    releases = [
        tuple(map(int, match.groups())) for heading in headings if (match := RELEASE.fullmatch(heading))
    ]
    if releases != sorted(releases, reverse=True):
        wrong.append("versions must go from new to old")
    for heading, lines in found.items():
        kinds = [line.removeprefix("### ") for line in lines if line.startswith("### ")]
        wrong += [
            f"'### {kind}' under {heading} is none of {sorted(KINDS)}" for kind in kinds if kind not in KINDS
        ]
        if heading != "[Unreleased]" and not entries(lines):
            wrong.append(f"{heading} has no entry")
    released = tuple(map(int, version.split("."))) in releases
    if not entries(found["[Unreleased]"]) and not released:
        wrong.append(f"version {version} is not released and [Unreleased] has no entry")
    if changed_since_release and not entries(found["[Unreleased]"]):
        wrong.append("the sources changed since the last release and [Unreleased] has no entry")
    return wrong


def entries(lines: list[str]) -> int:
    """Number of list items."""
    return sum(line.startswith("- ") for line in lines)


def package_version() -> str:
    """The version in rotfast/__init__.py, without importing it."""
    text = (ROOT / "rotfast" / "__init__.py").read_text()
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    assert found is not None
    return found[1]


def sources_changed() -> bool:
    """Whether csrc/ or rotfast/ differ from the last release tag; False where there is none."""
    tag = subprocess.run(
        ["git", "describe", "--tags", "--abbrev=0", "--match", "v*"], cwd=ROOT, capture_output=True, text=True
    )
    if tag.returncode != 0:
        return False
    difference = ["git", "diff", "--quiet", tag.stdout.strip(), "--", "csrc", "rotfast"]
    return subprocess.run(difference, cwd=ROOT).returncode == 1


def main() -> int:
    """Print what is wrong; 1 where something is."""
    wrong = problems((ROOT / "CHANGELOG.md").read_text(), package_version(), sources_changed())
    for problem in wrong:
        print(f"CHANGELOG.md: {problem}")
    if not wrong:
        print("CHANGELOG.md: in order")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

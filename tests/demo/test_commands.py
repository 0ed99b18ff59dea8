"""What `rotfast demo` refuses."""

import sys

import pytest

pytest.importorskip("uvicorn", reason="needs rotfast[demo]")

from rotfast import cli


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text("recipe: beta-vae\n")
    return folder


def fails(capsys, *arguments):
    try:
        code = cli.main(["demo", *map(str, arguments)])
    except SystemExit as stopped:  # of the option parser
        code = stopped.code
    captured = capsys.readouterr()
    assert code == 2
    assert "Traceback" not in captured.err
    return " ".join(captured.err.split())


def test_wrong_runs_and_options(run, tmp_path, capsys):
    assert "the recipe to explore must be one of beta-vae, got msr" in fails(capsys, "msr", run)
    assert "is no run folder" in fails(capsys, "beta-vae", tmp_path / "nowhere")
    assert "port must be from 0 to 65535, got 70000" in fails(capsys, "beta-vae", run, "--port", 70000)
    (run / "config.yaml").write_text("recipe: msr\n")
    assert "is a run of msr, not of beta-vae" in fails(capsys, "beta-vae", run)


def test_a_missing_library_is_named(monkeypatch, capsys):
    for module in ("commands", "server"):  # not to find them imported already
        monkeypatch.delitem(sys.modules, f"rotfast.demo.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert "needs more packages: pip install 'rotfast[recipes,demo]'" in fails(capsys, "beta-vae", "run")

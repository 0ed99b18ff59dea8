"""The table of registers: what ptxas says is read, and a change shows."""

import json

import pytest

from checks import nvcc

REPORT = """
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_ZN7rotfast4turnIfEEvPKT_' for 'sm_80'
ptxas info    : Function properties for _ZN7rotfast4turnIfEEvPKT_
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 32 registers, used 1 barriers, 4224 bytes smem, 400 bytes cmem[0]
ptxas info    : Compiling entry function '_ZN7rotfast4turnIfEEvPKT_' for 'sm_90'
ptxas info    : Function properties for _ZN7rotfast4turnIfEEvPKT_
    16 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 255 registers, used 0 barriers
"""
TURN = "_ZN7rotfast4turnIfEEvPKT_"


def test_resources_are_read() -> None:
    assert nvcc.resources(REPORT) == {
        (TURN, "80"): {"registers": 32, "shared": 4224, "spilled": 0},
        (TURN, "90"): {"registers": 255, "shared": 0, "spilled": 28},
    }


def test_names_are_readable() -> None:
    if nvcc.shutil.which("c++filt") is None:
        pytest.skip("needs c++filt")
    assert nvcc.readable([TURN]) == {TURN: "turn<float>"}


def test_a_change_shows() -> None:
    used = {"registers": 32, "shared": 0, "spilled": 0}
    more = {**used, "registers": 33}
    assert nvcc.differences({"a": used, "b": used}, {"a": used, "b": used}) == []
    assert nvcc.differences({"a": used, "b": used}, {"a": more, "c": used}) == [
        f"a: {used} in the table, now {more}",
        f"b: {used} in the table, now None",
        f"c: None in the table, now {used}",
    ]


@pytest.mark.parametrize(("registers", "status"), [(32, 0), (31, 1)])
def test_the_check_fails_where_the_table_does_not_hold(
    registers: int, status: int, monkeypatch: pytest.MonkeyPatch, tmp_path, capsys: pytest.CaptureFixture[str]
) -> None:
    def row(count: int) -> dict[str, dict[str, int]]:
        return {"a.cu, sm_80, turn": {"registers": count, "shared": 0, "spilled": 0}}

    monkeypatch.setattr(nvcc, "TABLE", tmp_path / "nvcc.json")
    monkeypatch.setattr(nvcc, "compiler", lambda: "nvcc")
    monkeypatch.setattr(nvcc, "version", lambda command: "13.0.88")
    monkeypatch.setattr(nvcc, "table", lambda command, sources: row(32))
    monkeypatch.setattr(nvcc.sys, "argv", ["nvcc.py"])
    nvcc.TABLE.write_text(json.dumps({"nvcc": "13.0.88", "kernels": row(registers)}))
    assert nvcc.main() == status
    assert ("--write renews the table" in capsys.readouterr().out) == bool(status)

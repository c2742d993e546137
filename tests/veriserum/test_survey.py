from __future__ import annotations

from pathlib import Path

from medcli.veriserum.calibrate import calibrate
from medcli.veriserum.survey import survey


def test_counts_problems_and_what_comes_next(veriserum: Path) -> None:
    (veriserum / "images/fs_000003.jpg").unlink()
    found = survey(veriserum)
    assert found.found["images"] == "4 bs and 3 fs of 4 ids"
    assert found.found["pose table"].startswith("4 rows in csv_files")
    assert "1 ids have no fs image" in found.problems
    assert any("no source-intensifier calibration table" in problem for problem in found.problems)
    assert found.next_commands == [f"medcli download veriserum --dest {veriserum}"]


def test_proposes_to_calibrate_and_counts_what_is_done(veriserum: Path) -> None:
    columns = "id,principalp_h_fs,principalp_v_fs,principalp_h_bs,principalp_v_bs,sid_fs,sid_bs"
    (veriserum / "source_int_calibration.csv").write_text(f"{columns}\n1,0,0,0,0,1800,1800\n")
    assert survey(veriserum).next_commands == [f"medcli calibrate veriserum --root {veriserum}"]
    calibrate(veriserum)
    done = survey(veriserum)
    assert done.found["calibrated images"] == "8"
    assert done.next_commands == []


def test_absent_folder(tmp_path: Path) -> None:
    assert survey(tmp_path / "none").next_commands == ["medcli download veriserum"]

"""No name, text or cell of a run becomes markup or script in its report, wherever in its files it is."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medcli.core.errors import DataError, MedcliError
from medcli.core.files import write_json
from medcli.core.image_io import write_image
from medcli.report import write_report
from medcli.report.runs import READERS
from medcli.veriserum.kinematics.compare_motion import compare_motion
from medcli.veriserum.kinematics.kinematics import KinematicsSettings, compute_kinematics
from medcli.workspace import runs
from tests.support import knees, report_folders
from tests.support.report_folders import EVIL

NAME = "<script>window.evil = 1<!-- \"><img src=x onerror='window.evil = 1'>"
"""What a folder may be called: all but a slash."""
POSES = "id,anatomy_id,tx,ty,tz,rz,rx,ry,similarity_before,similarity_after,displacement_mm,rotation_deg\n"
POSES += "1,1,0,0,0,0,0,0,0.2,0.9,3,2\n2,1,0,0,0,0,0,0,0.2,0.8,3,2\n"


class Elements(HTMLParser):
    """What a browser would take for elements, and which of them could act."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts = 0
        self.acting: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        for name, value in attrs:
            is_address = name in ("src", "href", "action", "formaction", "xlink:href")
            if name.startswith("on") or (is_address and not (value or "").startswith(("data:", "#"))):
                self.acting.append(f"{tag} {name}={value}")
        if tag in ("iframe", "object", "embed", "base", "form"):
            self.acting.append(tag)


def check_page(folder: Path) -> bool:
    """Whether there is a report, which then has its own script and nothing else that acts."""
    try:
        text = write_report(folder).out.read_text("utf-8")
    except MedcliError:
        return False  # a value that is none is refused
    elements = Elements()
    elements.feed(text)
    assert elements.scripts == 1
    assert not elements.acting
    assert "window.evil" not in text or "&lt;" in text
    return True


def seg_training(folder: Path) -> None:
    report_folders.training(folder)
    report_folders.provenance(folder, "train seg")


def pose_training(folder: Path) -> None:
    seg_training(folder)
    settings = json.loads((folder / "settings.json").read_text())
    report_folders.write(folder / "settings.json", {"backbone": "resnet18", **settings})


def cross_validation(folder: Path) -> None:
    fold = json.loads((report_folders.training(folder / "fold") / "result.json").read_text())
    content = {"schema": "medcli.train_seg_cv.v1", "folds": [fold], "mean_metrics": fold["best_metrics"]}
    report_folders.write(folder / "result.json", content)


def seg_evaluation(folder: Path) -> None:
    report_folders.write(folder / "evaluation.json", report_folders.evaluation(failures=("a",)))
    report_folders.provenance(folder, "evaluate seg", failures=[{"id": "a", "reason": "b"}])


def pose_evaluation(folder: Path) -> None:
    summary = {"median": 1.0, "mean": 1.0, "p90": 1.5, "p95": 2.0}
    errors = {"in_plane_bs_mm": summary, "rotation_deg": summary}
    content = {"source": "a", "pairs": 5, "errors": errors, "anatomies": {"1": 5}, "failures": ["a"]}
    content |= {"reference": "b", "geometry": "c", "leaks": 1}
    content |= {"split": "test", "warnings": ["a"], "seconds": 1.0, "schema": "medcli.evaluate.pose.v1"}
    report_folders.write(folder / "evaluation.json", content)
    (folder / "pairs.csv").write_text("id,anatomy,in_plane_bs_mm,rotation_deg\n1,1,1.0,2.0\n", "utf-8")


def reconstruction(folder: Path) -> None:
    report_folders.reconstruction(folder)
    report_folders.provenance(folder, "reconstruct ultrabones", {"failures": ["a"]})


def bone_registration(folder: Path) -> None:
    report_folders.bone_registration(folder)


def registration_evaluation(folder: Path) -> None:
    report_folders.registration_evaluation(folder)


def calibration(folder: Path) -> None:
    manifest = {"options": {"size": 64}, "calibrations": {"1": {"bs": "ab"}}, "made_with": [{"medcli": "1"}]}
    report_folders.write(folder / "calibrated" / "medcli_calibration.json", manifest)
    for plane in ("bs", "fs"):
        write_image(folder / "calibrated" / f"calibrated_{plane}_000003.jpg", np.full((64, 64), 200, np.uint8))
    report_folders.provenance(folder / "calibrated", "calibrate", {"failures": [{"id": "3", "reason": "b"}]})


def prediction(folder: Path) -> None:
    content = {"checkpoint": "best.safetensors", "network": "fpn on resnet34", "images": {"a.png": "b"}}
    report_folders.write(folder / "predictions.json", content)
    report_folders.provenance(folder, "predict seg", {"failures": [{"image": "a", "reason": "b"}]})
    (folder / "Overlays" / NAME).mkdir(parents=True)
    write_image(folder / "Overlays" / f"{NAME}.jpg", np.zeros((9, 9), np.uint8))


def labels(folder: Path) -> None:
    report_folders.write(folder / "labels.json", {"Labels": {"poses": "optimized", "meshes": ["fibula.stl"]}})
    (folder / "Overlays").mkdir()
    write_image(folder / "Overlays" / f"{NAME}.jpg", np.zeros((9, 9), np.uint8))


def estimated(folder: Path) -> None:
    (folder / "poses.csv").write_text(POSES, "utf-8")
    note = report_folders.provenance(folder, "predict pose", {"failures": [{"id": 9, "reason": "no implant"}]})
    note.rename(folder / "poses.medcli-run.json")


def registered(folder: Path) -> None:
    (folder / "poses.csv").write_text(POSES, "utf-8")
    note = report_folders.provenance(folder, "register pose", {"failures": [{"id": 9, "reason": "b"}], "overlays": "o"})
    note.rename(folder / "poses.medcli-run.json")


def tracked(folder: Path) -> None:
    header = "id,anatomy_id,tx,ty,tz,rz,rx,ry,method,se_mm,se_deg,similarity_bs,similarity_fs,status,intersection_mm"
    rows = [f"{i},{a},1,2,3,4,5,6,tracked,0.1,0.2,0.9,0.8,good,0.5" for i in (1, 2) for a in (1, 3)]
    (folder / "poses.csv").write_text("\n".join([header, *rows]) + "\n", "utf-8")
    trial = {"first_id": 1, "ids": "1-2", "anatomies": [1, 3], "statuses": {"good": 3, "failed": 1}}
    trial |= {"failures": {"2": "anatomy 3: it is hidden"}, "deepest_mm": 0.5, "seconds": 1.0}
    report_folders.provenance(folder, "register trial", {"trials": [trial], "overlays": "o"}).rename(
        folder / "poses.medcli-run.json"
    )


def motion(folder: Path) -> None:
    compute_kinematics(_knees(folder), folder, KinematicsSettings(axes=_beside(folder) / "axes.json"))


def compared_motion(folder: Path) -> None:
    root = _knees(folder)
    compare_motion(root, root / knees.POSE_TABLE, None, folder, KinematicsSettings(axes=_beside(folder) / "axes.json"))


def _knees(folder: Path) -> Path:
    root = knees.write_knees(_beside(folder), knees.pose_rows(knees.draw_knees(1, 3)))
    write_json(root / "axes.json", {"implants": {n: knees.true_axes(n, "left") for n in (1, 3)}})
    return root


def _beside(folder: Path) -> Path:
    return folder.parent / f"{folder.name[:40]} data"


def demo(folder: Path) -> None:
    report_folders.demo(folder)


MADE: dict[str, Callable[[Path], None]] = {
    runs.TRAIN_SEG: seg_training,
    runs.TRAIN_POSE: pose_training,
    runs.CROSS_VALIDATION: cross_validation,
    runs.EVALUATE_SEG: seg_evaluation,
    runs.EVALUATE_POSE: pose_evaluation,
    runs.RECONSTRUCT: reconstruction,
    runs.CALIBRATE: calibration,
    runs.PREDICT_SEG: prediction,
    runs.LABEL: labels,
    runs.PREDICT_POSE: estimated,
    runs.REGISTER: registered,
    runs.REGISTER_TRIAL: tracked,
    runs.REGISTER_BONE: bone_registration,
    runs.EVALUATE_REGISTRATION: registration_evaluation,
    runs.KINEMATICS: motion,
    runs.EVALUATE_KINEMATICS: compared_motion,
    "demo": demo,
}


def with_evil(content: Any) -> Iterator[Any]:
    """Copies of JSON in each of which one text, number or key is, or ends in, markup."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield {EVIL if name == key else name: item for name, item in content.items()}
            yield {f"{name}{EVIL}" if name == key else name: item for name, item in content.items()}
            for changed in with_evil(value):
                yield {**content, key: changed}
    elif isinstance(content, list):
        for index in {0, len(content) - 1} if content else ():  # the first and the last stand for all
            for changed in with_evil(content[index]):
                yield [*content[:index], changed, *content[index + 1 :]]
    else:
        yield from (EVIL, f"{content}{EVIL}", [EVIL], {EVIL: EVIL})


def tables_with_evil(text: str) -> Iterator[str]:
    rows = list(csv.reader(io.StringIO(text)))
    for row in {0, 1, len(rows) - 1}:
        for column in range(len(rows[row])):
            changed = [list(cells) for cells in rows]
            changed[row][column] = EVIL
            written = io.StringIO()
            csv.writer(written, lineterminator="\n").writerows(changed)
            yield written.getvalue()


def variants(path: Path) -> Iterator[str]:
    text = path.read_text("utf-8")
    if path.suffix == ".json":
        yield from map(json.dumps, with_evil(json.loads(text)))
    elif path.suffix == ".csv":
        yield from tables_with_evil(text)


def test_every_kind_of_report_is_here() -> None:
    assert {*READERS, "demo"} == set(MADE)


@pytest.mark.parametrize("kind", MADE)
def test_a_folder_with_a_hostile_name(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / NAME / NAME
    folder.mkdir(parents=True)
    MADE[kind](folder)
    assert check_page(folder)


def check_variants(folder: Path, most: int) -> int:
    """How many of at most ``most`` changed files, from all over the folder, gave a report."""
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in (".json", ".csv")]
    changed = [(path, text) for path in files for text in variants(path)]
    shown = 0
    for path, text in changed[:: max(len(changed) // most, 1)]:
        before = path.read_text("utf-8")
        path.write_text(text, "utf-8")
        shown += check_page(folder)
        path.write_text(before, "utf-8")
    return shown


@pytest.mark.parametrize("kind", MADE)
def test_texts_and_numbers_and_cells_are_no_markup(tmp_path: Path, kind: str) -> None:
    MADE[kind](tmp_path)
    assert check_page(tmp_path)
    assert check_variants(tmp_path, most=11) >= 3


@pytest.mark.deep
@pytest.mark.parametrize("kind", MADE)
def test_every_text_and_number_and_cell_is_no_markup(tmp_path: Path, kind: str) -> None:
    MADE[kind](tmp_path)
    assert check_variants(tmp_path, most=120) >= 5


@pytest.mark.parametrize("value", [["a"], {"a": 1}])
def test_what_is_no_text_is_one_error(tmp_path: Path, value: Any) -> None:
    reconstruction(tmp_path)
    (path,) = tmp_path.glob("specimen*.json")
    content = json.loads(path.read_text("utf-8"))
    content["reconstruction"]["name"] = value
    report_folders.write(path, content)
    with pytest.raises(DataError, match="is damaged, or of another version of medcli"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()

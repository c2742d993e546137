"""From folders to reports: recognised runs, their contents, and damaged ones."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medcli.core.errors import DataError, MedcliError, UsageError
from medcli.core.image_io import write_image
from medcli.core.shell import spell
from medcli.report import write_report
from medcli.report.blocks import Block, Chart, Compare, Gallery, KeyValues, Note, PointCloud, Section, Table
from medcli.report.provenance import data_section, how_section
from medcli.report.run_files import RunReport
from medcli.report.write import page_of
from tests.support import report_folders


def blocks_in(sections: Any) -> list[Block]:
    return [b for s in sections for b in [*s.blocks, *blocks_in(s.sections)]]


def titles(sections: list[Section]) -> list[str]:
    return [section.title for section in sections]


def text_of(folder: Path) -> str:
    """The page, without the spans that keep the words of a command together."""
    return re.sub(r"</?span>", "", write_report(folder).out.read_text("utf-8"))


def test_a_folder_that_takes_no_page_names_an_option_that_does(tmp_path: Path) -> None:
    run = report_folders.training(tmp_path / "run")
    (tmp_path / "file").touch()
    with pytest.raises(MedcliError, match=r"cannot write to .*file: it is a file, not a folder") as raised:
        write_report(run, tmp_path / "file" / "page.html")
    assert raised.value.hint == "write the page elsewhere: --out FILE"


def test_evaluation_by_both_protocols(tmp_path: Path) -> None:
    both = {name: report_folders.evaluation(name) for name in ("paper", "strict")}
    report_folders.write(tmp_path / "evaluation.json", both)
    report_folders.provenance(tmp_path, "evaluate seg")
    sections = page_of(tmp_path)[0].sections
    assert titles(sections)[:3] == [
        "Results, paper protocol",
        "Results, strict protocol",
        "Best, median and worst frames",
    ]
    paper, strict = (block for block in blocks_in(sections) if isinstance(block, Chart))
    assert len(paper.panels) == len(strict.panels) == 3
    assert "band" not in paper.panels[0]
    assert strict.panels[0].count("band") == 3
    table = next(block for block in blocks_in(sections[1:2]) if isinstance(block, Table) and "bone" in block.header)
    assert table.rows[1] == ["all", "1.0", *["0.500 (0.450 to 0.550)"] * 3]
    assert all(table.numeric[1:])
    text = text_of(tmp_path)
    for words in (
        "medcli 9.8.7",
        "torch",
        "2.99.0",
        "4321",
        "medcli evaluate seg --root data",
        "CC BY 4.0",
        "Donor S9",
    ):
        assert words in text


@pytest.mark.parametrize("synthetic", [True, False])
def test_synthetic_data_are_marked(tmp_path: Path, synthetic: bool) -> None:
    report_folders.write(tmp_path / "evaluation.json", report_folders.evaluation())
    report_folders.provenance(tmp_path, "evaluate seg", synthetic=synthetic)
    text = text_of(tmp_path)
    assert ("are synthetic" in text) is synthetic
    assert ("its licence applies to them" in text) is not synthetic


def test_a_run_without_provenance_record_still_has_licence_and_citation(tmp_path: Path) -> None:
    report_folders.write(tmp_path / "evaluation.json", report_folders.evaluation())
    text = text_of(tmp_path)
    assert "has no provenance record" in text
    assert "Computers in Biology and Medicine" in text


def test_finished_training(tmp_path: Path) -> None:
    page, _ = page_of(report_folders.training(tmp_path))
    assert page.figures is not None
    assert page.figures.figures["validation Dice, epoch 3"] == "0.600"
    assert page.figures.figures["time"] == "2 min 10 s"
    assert [note.text for note in page.notes] == ["Quote last."]
    (chart,) = (block for block in blocks_in(page.sections) if isinstance(block, Chart))
    assert chart.table is not None
    assert [row[0] for row in chart.table.rows] == ["1", "2", "3"]


@pytest.mark.parametrize("epochs", [0, 2])
def test_running_training(tmp_path: Path, epochs: int) -> None:
    page, _ = page_of(report_folders.training(tmp_path, epochs, done=False))
    assert "is not finished" in page.notes[0].text
    assert ("2 of 5 epochs" in page.notes[0].text) is (epochs == 2)
    assert len([block for block in blocks_in(page.sections) if isinstance(block, Chart)]) == (epochs > 0)
    assert "is not finished" in text_of(tmp_path)


def test_pose_training_and_cross_validation(tmp_path: Path) -> None:
    pose = report_folders.training(tmp_path / "pose")
    settings = json.loads((pose / "settings.json").read_text())
    report_folders.write(pose / "settings.json", {"backbone": "resnet18", **settings})
    (pose / "result.json").unlink()
    assert page_of(pose)[0].title == "Training of an implant pose network"
    fold = json.loads((report_folders.training(tmp_path / "fold") / "result.json").read_text())
    folds = {"schema": "medcli.train_seg_cv.v1", "folds": [fold, fold], "mean_metrics": fold["best_metrics"]}
    report_folders.write(tmp_path / "cv" / "result.json", folds)
    page, _ = page_of(tmp_path / "cv")
    (table,) = (block for block in blocks_in(page.sections[:1]) if isinstance(block, Table))
    assert [row[0] for row in table.rows] == ["2", "2", "mean"]


def test_reconstruction_with_and_without_its_images(tmp_path: Path) -> None:
    report_folders.reconstruction(tmp_path)
    sections = page_of(tmp_path)[0].sections
    assert [type(block).__name__ for block in sections[1].blocks] == ["PointCloud", "ImageBlock", "Chart"]
    for path in [*tmp_path.glob("*.png"), *tmp_path.glob("*.ply")]:
        path.unlink()
    sections = page_of(tmp_path)[0].sections
    assert [type(block).__name__ for block in sections[1].blocks] == ["Note", "Note"]


def test_reconstructions_of_one_record_are_told_apart(tmp_path: Path) -> None:
    stem = "specimen02_fibula_record01_Labels_optimized"
    made = json.loads((report_folders.reconstruction(tmp_path) / f"{stem}.json").read_text("utf-8"))
    made["reconstruction"] |= {"mask": "Labels_pred", "files": []}
    report_folders.write(tmp_path / f"{stem.replace('Labels', 'Labels_pred')}.json", made)
    sections = page_of(tmp_path)[0].sections
    names = [f"specimen02 fibula record01, {mask}, optimized poses" for mask in ("Labels", "Labels_pred")]
    assert [section.title for section in sections[1:3]] == names
    tables = [block for block in sections[0].blocks if isinstance(block, Table)]
    assert [[row[0] for row in table.rows] for table in tables] == [names] * len(tables)
    assert "Mask pixels of 1 record in CT space" in text_of(tmp_path)


def test_calibration_shows_recorded_and_calibrated_images(tmp_path: Path) -> None:
    manifest = {
        "options": {"size": 64},
        "calibrations": {"1": {"bs": "ab"}},
        "made_with": [{"medcli": "1", "opencv": "5"}],
    }
    report_folders.write(tmp_path / "calibrated" / "medcli_calibration.json", manifest)
    for plane in ("bs", "fs"):
        write_image(tmp_path / "calibrated" / f"calibrated_{plane}_000003.jpg", np.full((64, 64), 200, np.uint8))
    assert "only the calibrated ones" in text_of(tmp_path)
    native = np.zeros((200, 208), np.uint8)
    native[:, :4] = 250  # outside the middle square, which alone is shown
    native[:, 4:] = 100
    for plane in ("bs", "fs"):
        write_image(tmp_path / f"{plane}_000003.jpg", native)
    sliders = [block for block in blocks_in(page_of(tmp_path)[0].sections) if isinstance(block, Compare)]
    assert len(sliders) == 2
    assert (sliders[0].before.width, sliders[0].before.height) == (64, 64) == (sliders[0].after.width,) * 2


def test_tables_of_poses(tmp_path: Path) -> None:
    rows = ["id,anatomy_id,tx,ty,tz,rz,rx,ry,similarity_before,similarity_after,displacement_mm,rotation_deg"]
    rows += [f"{i},1,0,0,0,0,0,0,0.2,0.{9 - i},3,2" for i in range(1, 4)]
    (tmp_path / "poses.csv").write_text("\n".join(rows) + "\n", "utf-8")
    result = {"failures": [{"id": 9, "reason": "no implant"}], "overlays": None}
    report_folders.provenance(tmp_path, "register pose", result).rename(tmp_path / "poses.medcli-run.json")
    page, _ = page_of(tmp_path)
    assert page.figures is not None
    assert page.figures.figures["similarity after, median"] == "0.700"
    assert page.notes[0].items == ["id 9, reason no implant"]
    (tmp_path / "poses.medcli-run.json").rename(tmp_path / "x.medcli-run.json")
    report_folders.provenance(tmp_path, "predict pose", {}).rename(tmp_path / "poses.medcli-run.json")
    page, runs = page_of(tmp_path)
    assert page.title.startswith("2 runs in ")
    assert [run.title for run in runs] == ["Estimated implant poses", "Registration of implant poses"]


def test_labels_and_predictions(tmp_path: Path) -> None:
    report_folders.write(
        tmp_path / "record01" / "labels.json", {"Labels": {"poses": "optimized", "meshes": ["fibula.stl"]}}
    )
    (tmp_path / "record01" / "Overlays").mkdir()
    write_image(tmp_path / "record01" / "Overlays" / "7.jpg", np.zeros((9, 9), np.uint8))
    sections = page_of(tmp_path / "record01")[0].sections
    assert any(isinstance(block, Gallery) for block in blocks_in(sections))
    report_folders.write(
        tmp_path / "masks" / "predictions.json", {"checkpoint": "best.safetensors", "network": "fpn on resnet34"}
    )
    page, _ = page_of(tmp_path / "masks")
    assert page.lead.endswith("by fpn on resnet34.")


def test_demo_shows_its_steps_and_their_runs(tmp_path: Path) -> None:
    report_folders.demo(tmp_path)
    result = write_report(tmp_path)
    assert result.out == tmp_path / "report.html"
    assert result.sections[:4] == ("What was run", "Calibrate", "Evaluate", "Rebuild")
    assert result.runs[1:] == ("Evaluation of a bone segmentation", "Reconstruction of bone in 3D")
    blocks = blocks_in(page_of(tmp_path)[0].sections)
    for kind, count in ((Compare, 1), (PointCloud, 1)):
        assert len([block for block in blocks if isinstance(block, kind)]) == count
    assert result.bytes < 1_000_000
    assert spell("medcli", "demo", "--out", tmp_path, "--quick") in html.unescape(text_of(tmp_path))
    assert "2026-01-02 03:04 UTC" in text_of(tmp_path)


def test_demo_counts_each_step_as_what_it_is_of(tmp_path: Path) -> None:
    report_folders.demo(tmp_path)
    content = json.loads((tmp_path / "demo.json").read_text("utf-8"))
    commands = {
        "synthetic data": ["medcli demo --out veriserum --data-only"],
        "ultrasound": ["medcli label ultrabones --root veriserum", "medcli checkpoint new pose"],
        "X-ray pairs": [
            "medcli calibrate veriserum",
            "medcli train pose",
            "medcli register trial --root demo/knee",
            "medcli evaluate kinematics a.csv",
        ],
    }
    record = "ultrabones/specimen02/record01"
    (tmp_path / record / "UltrasoundImages").mkdir(parents=True)
    every = [command for several in commands.values() for command in several]
    step = {**content["steps"][0], "before_after": None, "folder": record}
    steps = [{**step, "command": command, "title": command, "seconds": 1.0} for command in every]
    report_folders.write(tmp_path / "demo.json", {**content, "steps": steps})
    blocks = blocks_in(page_of(tmp_path)[0].sections)
    parts = next(block for block in blocks if isinstance(block, Table) and block.header[0] == "part")
    assert {row[0]: row[2] for row in parts.rows} == {name: f"{len(of)}.0 s" for name, of in commands.items()}
    assert any(isinstance(block, Note) and f"one record of this step, {record}" in block.text for block in blocks)


def test_settings_without_binary_digits_and_the_folder_of_most_runs() -> None:
    def values(section: Section) -> dict[str, str]:
        return {name: text for b in section.blocks if isinstance(b, KeyValues) for name, text in b.rows.items()}

    origin = {"settings": {"darkest": 10 / 255, "lr": 5e-5, "shares": [0.1 + 0.2], "pixels": 64_000_001.0}}
    shown = values(how_section(RunReport("a", "b", origin=origin)))
    assert [shown[name] for name in ("darkest", "lr", "shares", "pixels")] == [
        "0.0392157",
        "5e-05",
        "0.3",
        "64000001.0",
    ]
    roots = ("demo/drifting", "demo/ultrabones", "demo/ultrabones")
    runs = [RunReport("a", "b", dataset="UltraBones100k", origin={"data": {"root": root}}) for root in roots]
    assert values(data_section(runs))["data folder"] == "demo/ultrabones"


def test_a_damaged_step_does_not_affect_the_others(tmp_path: Path) -> None:
    report_folders.demo(tmp_path)
    (tmp_path / "runs/evaluate/evaluation.json").write_text("{", "utf-8")
    (tmp_path / "before.png").unlink()
    text = text_of(tmp_path)
    assert "evaluation.json is damaged" in text
    assert "before.png is missing" in text
    assert "Reconstruction of bone in 3D" in text


@pytest.mark.parametrize(
    "content", ["", "{", "[1]", '"x"', '{"schema": "medcli.evaluate.seg.v1", "protocol": "strict"}']
)
def test_a_damaged_file_is_reported(tmp_path: Path, content: str) -> None:
    (tmp_path / "evaluation.json").write_text(content, "utf-8")
    with pytest.raises(DataError) as caught:
        write_report(tmp_path)
    assert str(tmp_path) in caught.value.message
    assert not (tmp_path / "report.html").exists()


def test_the_error_without_a_run_lists_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"contains no run.*evaluation\.json.*demo\.json"):
        write_report(tmp_path)
    with pytest.raises(DataError, match="no folder"):
        write_report(tmp_path / "absent")


def test_runs_below_are_listed_with_their_command(tmp_path: Path, medcli: Any) -> None:
    report_folders.training(tmp_path / "seg" / "my run")
    report_folders.write(tmp_path / "evaluate" / "seg" / "evaluation.json", report_folders.evaluation())
    ran = medcli("report", tmp_path)
    assert ran.code == 3
    assert spell("medcli", "report", tmp_path / "seg" / "my run") in ran.err
    assert f"medcli report {tmp_path / 'evaluate' / 'seg'}" in ran.err


def test_own_report_is_replaced_and_no_other_file(tmp_path: Path, medcli: Any) -> None:
    report_folders.training(tmp_path)
    first = write_report(tmp_path)
    assert write_report(tmp_path).bytes == first.bytes
    other = tmp_path / "notes.html"
    other.write_text("mine", "utf-8")
    with pytest.raises(UsageError, match="is not a medcli report"):
        write_report(tmp_path, other)
    assert other.read_text("utf-8") == "mine"
    ran = medcli("report", tmp_path, "--out", other, "--overwrite", "--json")
    assert ran.code == 0
    assert json.loads(ran.out)["schema"] == "medcli.report.v1"
    assert other.read_text("utf-8").startswith("<!doctype html>")
    assert not list(tmp_path.glob(".*.part"))


def test_names_and_failures_cannot_execute_script(tmp_path: Path) -> None:
    report_folders.write(
        tmp_path / "evaluation.json",
        report_folders.evaluation(source=report_folders.EVIL, failures=(report_folders.EVIL,)),
    )
    report_folders.provenance(
        tmp_path, "evaluate seg", command=f"medcli evaluate {report_folders.EVIL}", device=report_folders.EVIL
    )
    text = text_of(tmp_path)
    assert text.count("<script") == 1
    assert "<img src=x" not in text
    assert text.count("&lt;script&gt;window.evil") >= 3


def test_the_report_reads_the_output_of_real_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny synthetic data through the commands' library functions."""
    from medcli.core.run_provenance import command_line
    from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
    from medcli.ultrabones.evaluation.evaluate import evaluate_segmentation
    from medcli.ultrabones.evaluation.prediction_sources import StoredMasks
    from medcli.ultrabones.evaluation.settings import EvaluationSettings
    from medcli.ultrabones.reconstruction.reconstruct import reconstruct_ultrabones

    settings = SweepSettings(frames=3, scale=0.25, predictions=True)
    data = make_ultrabones(tmp_path / "data", (2, 7), settings=settings)
    with command_line("medcli evaluate --protocol both"):
        chosen = EvaluationSettings(protocols=("paper", "strict"))
        evaluate_segmentation(data, StoredMasks("Labels_pred"), chosen, tmp_path / "evaluation")
    sections = page_of(tmp_path / "evaluation")[0].sections
    galleries = [block for block in blocks_in(sections) if isinstance(block, Gallery)]
    assert [len(gallery.images) for gallery in galleries] == [3, 3, 3]
    text = text_of(tmp_path / "evaluation")
    assert "medcli evaluate --protocol both" in text
    assert "are synthetic" in text
    monkeypatch.setattr(
        "medcli.ultrabones.reconstruction.point_cloud.PUBLISHED_SAMPLES", 10_000
    )  # a million take seconds
    reconstruct_ultrabones(data, tmp_path / "bone", specimens=[7])
    (cloud,) = (block for block in blocks_in(page_of(tmp_path / "bone")[0].sections) if isinstance(block, PointCloud))
    assert cloud.faces, "the mesh of the data folder is under the points"
    assert not re.search(r"<(?:link|script|img|iframe)[^>]+(?:src|href)=\"(?!data:)", text)

"""Small folders like those that the commands write, written directly where running the command would take long."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from medcli.core.image_io import write_image
from medcli.ultrabones.reconstruction.point_cloud import DistanceSummary, write_ply

THRESHOLDS = [round(0.1 * i, 1) for i in range(21)]
EVIL = "<script>window.evil = 1</script><img src=x onerror='window.evil = 1'>"
"""What a name must not be able to do."""


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), "utf-8")
    return path


def provenance(folder: Path, verb: str, result: Any = None, synthetic: bool = False, **more: Any) -> Path:
    content = {
        "schema": "medcli.run.v1",
        "verb": verb,
        "command": f"medcli {verb} --root data",
        "when": "2026-01-31T12:00:00+00:00",
        "medcli": "9.8.7",
        "python": "3.11.1",
        "packages": {"torch": "2.99.0"},
        "device": "cpu",
        "data": {
            "dataset": "UltraBones100k",
            "licence": "CC BY 4.0",
            "citation": "Wu",
            "root": "data",
            "synthetic": synthetic,
        },
        "settings": {"seed": 4321},
        "result": result,
    }
    return write(folder / "medcli-run.json", {**content, **more})


def evaluation(protocol: str = "strict", source: str = "Labels_pred", failures: tuple[str, ...] = ()) -> dict[str, Any]:
    """One result of ``evaluate seg``."""
    curve = [i / 20 for i in range(21)]
    curves = {"all": curve, "visible": [min(1.0, v + 0.1) for v in curve], "invisible": [None, *curve[1:]]}
    band = {
        region: [[max(0, (v or 0) - 0.05) for v in c], [(v or 0) + 0.05 for v in c]] for region, c in curves.items()
    }
    one = {"donor": "S1", "frames": 4, "frames_skipped": 0, "dice": 0.8, "assd_mm": 0.5, "hd95_mm": 1.5}
    interval = dict.fromkeys(("precision", "recall", "f1"), band) if protocol == "strict" else None
    return {
        "protocol": protocol,
        "source": source,
        "labels": "partial",
        "specimens": [2, 7],
        "frames": 8,
        "frames_skipped": 1,
        "visible_grey": 107.0,
        "thresholds_mm": THRESHOLDS,
        **dict.fromkeys(("precision", "recall", "f1"), curves),
        "dice": 0.8,
        "assd_mm": 0.5,
        "hd_mm": 3.0,
        "hd95_mm": 1.5,
        "frames_without_prediction": 1,
        "false_positive_rate": None,
        "interval_95": interval,
        "per_specimen": {n: {**one, **dict.fromkeys(("precision", "recall", "f1"), curves)} for n in ("2", "7")},
        "donor_overlap": [{"donor": "S9", "train": [5], "test": [7]}],
        "failures": list(failures),
        "schema": "medcli.evaluate.seg.v1",
    }


def training(folder: Path, epochs: int = 3, done: bool = True) -> Path:
    """``train seg``, finished or under way."""
    settings = {
        "epochs": 5 if not done else epochs,
        "arch": "fpn",
        "encoder": "resnet34",
        "seed": 7,
        "data": "8 frames",
    }
    write(folder / "settings.json", {**settings, "train_specimens": [1, 3], "val_specimens": [2], "resumed_from": []})
    rows = ["epoch,lr,train_loss,val_chamfer_mm,val_dice,val_loss"]
    rows += [f"{i},0.001,{2 / i},{'nan' if i == 1 else 1 / i},{0.2 * i},{1.9 / i}" for i in range(1, epochs + 1)]
    if epochs:
        (folder / "metrics.csv").write_text("\n".join(rows) + "\n", "utf-8")
    if done:
        metrics = {"val_dice": 0.6, "val_chamfer_mm": 0.33, "val_loss": 0.63, "val_hausdorff_95_mm": None}
        result = {
            "epochs": epochs,
            "best_epoch": epochs,
            "best_metrics": metrics,
            "last_metrics": metrics,
            "train_specimens": [1, 3],
            "val_specimens": [2],
            "train_frames": 6,
            "val_frames": 2,
            "warnings": ["quote last"],
            "device": "CPU, 32",
            "seconds": 130.0,
            "failures": [],
            "schema": "medcli.train_seg.v1",
        }
        write(folder / "result.json", result)
    return folder


def bone_registration(folder: Path) -> Path:
    """``register bone``: a doubtful one, points on a tube."""
    reconstruction(folder)
    stem = "specimen02_fibula_record01_Labels_optimized"
    (folder / f"{stem}.json").unlink()
    for path in folder.glob(f"{stem}.*"):
        path.rename(folder / f"transform{path.suffix}")
    distance = {"mean": 0.4, "median": 0.3, "percentile_95": 1.0, "maximum": 1.9}
    direction = {"name": "sliding", "kind": "shift", "axis": [0, 0, 1], "standard_error": 3.0, "unit": "mm"}
    directions = [{**direction, "determined": False}, {**direction, "kind": "turn", "determined": True}]
    registration = {
        "status": "doubtful",
        "reasons": ["not determined by the points: sliding"],
        "transform": np.eye(4).tolist(),
        "explained": 0.7,
        "distance_mm": distance,
        "by_bone": {"fibula": distance},
        "determination": {"directions": directions},
        "runner_up": {"lead": 2.0, "displacement_mm": 30.0, "rotation_deg": 170.0},
        "mirror_lead": 4.0,
    }
    content = {"schema": "medcli.register_bone.v1", "cloud": "bone.xyz", "meshes": ["fibula"]}
    return write(folder / "transform.json", {**content, "registration": registration})


def registration_evaluation(folder: Path) -> Path:
    """``evaluate registration``: one bone, two starts."""
    counts = {"starts": 2, "recall": 0.5, "median_rte_mm": 3.0, "median_rre_deg": 1.0, "good": 1, "wrong_good": 0}
    recovery = {**counts, "rte_mm": [3.0, 2.0], "rre_deg": [1.0, 0.5]}
    case = {"specimen": 2, "anatomy": "fibula", "recovery": recovery, "undetermined": ["sliding"]}
    table = "specimen,anatomy,start,rte_mm,rre_deg,recovered,status\n2,fibula,0,1,1,1,good\n2,fibula,1,6,1,0,doubtful\n"
    settings = {"mask": "Labels", "success_mm": 5.0, "success_deg": 5.0}
    content = {"schema": "medcli.evaluate.registration.v1", "overall": recovery, "settings": settings, "cases": [case]}
    write(folder / "evaluation.json", {**content, "per_anatomy": {"fibula": recovery}, "failures": ["a"]})
    (folder / "starts.csv").write_text(table, "utf-8")
    return folder


def reconstruction(folder: Path, points: int = 400) -> Path:
    """``reconstruct``: one record, points on a tube."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    angle, along = rng.uniform(0, 3, points), rng.uniform(0, 80, points)
    xyz = np.stack([8 * np.cos(angle), 8 * np.sin(angle), along], axis=1)
    distances = rng.uniform(0, 0.4, points)
    stem = "specimen02_fibula_record01_Labels_optimized"
    write_ply(folder / f"{stem}.ply", xyz, distances, np.zeros((points, 3), np.uint8))
    write_image(folder / f"{stem}.png", np.full((60, 90, 3), 255, np.uint8))
    summary = DistanceSummary.of(distances)
    record = {
        "name": "specimen02 fibula record01",
        "mask": "Labels",
        "poses": "optimized",
        "frames": 4,
        "empty": 0,
        "points": points,
        "points_written": points,
        "distance_mm": vars(summary),
        "published_mm": 0.25,
        "seen": {"fibula": 0.081},
        "files": [f"{stem}.ply", f"{stem}.xyz", f"{stem}.png"],
    }
    write(folder / f"{stem}.json", {"made_from": "0" * 16, "reconstruction": record})
    return folder


def demo(folder: Path) -> Path:
    """``medcli demo``: three steps, one of which left no run."""
    write_image(folder / "before.png", np.full((40, 40), 40, np.uint8))
    write_image(folder / "after.png", np.full((40, 40), 220, np.uint8))
    reconstruction(folder / "runs/bone", points=3000)
    write(folder / "runs/evaluate/evaluation.json", evaluation())
    provenance(folder / "runs/evaluate", "evaluate seg", synthetic=True)
    step = {"about": "About it.", "command": "medcli x", "seconds": 1.0, "numbers": {"F1": "0.9"}, "images": []}
    slider = {"before": "before.png", "after": "after.png", "alt": "A grid", "caption": "Before and after."}
    steps = [
        {**step, "title": "Calibrate", "folder": None, "before_after": slider},
        {**step, "title": "Evaluate", "folder": "runs/evaluate", "before_after": None},
        {**step, "title": "Rebuild", "folder": "runs/bone", "before_after": None},
    ]
    content = {"version": "9.8.7", "quick": True, "seed": 0, "seconds": 3.0, "cores": 2, "steps": steps, "failures": []}
    write(folder / "demo.json", {**content, "schema": "medcli.demo.v3"})
    write(folder / "demo-settings.json", {"quick": True, "seed": 0, "started": "2026-01-02T03:04:05+00:00"})
    return folder

"""What the site has beside the pages of ``docs/``, for ``mkdocs.yml``: the repository's own pages and the Python API.

The same Markdown is read in the repository and on the site. README, CONTRIBUTING and CHANGELOG lie at the top of the
repository; here they become pages, and links from and to them are changed accordingly. Links to other files of the
repository lead to its address, which stands in ``pyproject.toml`` only.
"""

from __future__ import annotations

import re
from importlib.metadata import metadata
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).parents[1]
OWN_PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
URLS = dict(text.split(", ", 1) for text in metadata("medcli").get_all("Project-URL") or ())
API = {
    "ultrabones": (
        "UltraBones100k in Python",
        {
            "Data": ["ultrabones.dataset.frame_index: index_frames mask_path", "ultrabones.dataset.splits"],
            "Download": [
                "ultrabones.download.download: download_ultrabones UltrabonesSelection UltrabonesOrigin",
                "ultrabones.download.published_weights: download_weights Weights",
            ],
            "Labels": ["ultrabones.labelling.label_dataset: label_ultrabones LabelSettings LabelResult"],
            "Checks": ["ultrabones.checks.check_ultrabones: check_ultrabones"],
            "Segmentation": [
                "ultrabones.segmentation.inference: Segmenter",
                "ultrabones.segmentation.frame_segmenter: FrameSegmenter",
                "ultrabones.segmentation.train: train_segmentation cross_validate TrainResult",
                "ultrabones.segmentation.settings: SegmentationSettings",
                "ultrabones.segmentation.predict: predict_seg PredictSettings SegPrediction",
                "ultrabones.segmentation.onnx_graph.export: export_seg SegExport",
            ],
            "Evaluation": [
                "ultrabones.evaluation.evaluate: evaluate_segmentation Evaluation",
                "ultrabones.evaluation.settings: EvaluationSettings",
                "ultrabones.evaluation.prediction_sources: StoredMasks Model",
                "ultrabones.evaluation.metrics",
            ],
            "Reconstruction": [
                "ultrabones.reconstruction.reconstruct: reconstruct_ultrabones ReconstructSettings ReconstructResult"
            ],
            "Registration to CT": [
                "ultrabones.registration.register_cloud: register_cloud BoneRegistration RunnerUp",
                "ultrabones.registration.surface_samples: BoneTarget",
                "ultrabones.registration.evaluate_registration: evaluate_registration RegistrationSettings",
            ],
        },
    ),
    "veriserum": (
        "Veriserum in Python",
        {
            "Download": ["veriserum.download: download_veriserum VeriserumSelection VeriserumOrigin"],
            "Calibration": [
                "veriserum.calibration.undistort: calibrate CalibrationResult",
                "veriserum.calibration.distortion_model",
                "veriserum.calibration.map_points: map_points PointsResult",
                "veriserum.calibration.grid_fit.fit_calibration: fit_calibration FitResult",
            ],
            "Geometry": ["veriserum.geometry.biplane"],
            "Checks": ["veriserum.checks.check_veriserum: check_veriserum"],
            "Masks of implants": [
                "veriserum.labelling.implant_masks: label_implants ImplantMaskSettings ImplantMaskResult"
            ],
            "Poses by a network": [
                "veriserum.pose.train: train_pose TrainPoseResult",
                "veriserum.pose.settings: PoseSettings",
                "veriserum.pose.evaluate: evaluate_pose PoseEvaluation",
                "veriserum.pose.evaluated_pairs: PoseEvaluationSettings",
                "veriserum.pose.predict: predict_pose PosePredictSettings PosePrediction",
            ],
            "Poses in both planes": ["veriserum.registration.register: register_poses RegisterResult"],
        },
    ),
    "shared": (
        "Shared parts in Python",
        {
            "Synthetic data": [
                "synthetic.ultrasound.dataset: make_ultrabones SweepSettings",
                "synthetic.fluoroscopy.dataset: make_veriserum FluoroscopySettings Study SyntheticVeriserum",
            ],
            "Demonstration and report": [
                "demo.run: run_demo",
                "demo.result: DemoResult",
                "report.write: write_report ReportResult",
            ],
            "Workspace": ["workspace.inventory: take_inventory"],
            "Images, meshes and transforms": ["core.image_io", "core.mesh", "core.rigid_transforms"],
            "Errors": ["core.errors"],
        },
    ),
}
"""Each page's title, and by heading its modules below ``medcli``; with names where not all public ones are meant."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    assert config.nav is not None
    config.nav[-1]["Development"].append({"Source code": URLS["Source"]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, target in OWN_PAGES.items():
        files.append(File.generated(config, target, content=(REPOSITORY / name).read_text("utf-8")))
    for name in API:
        files.append(File.generated(config, f"api/{name}.md", content=_api_page(name)))
    return files


def _api_page(name: str) -> str:
    title, parts = API[name]
    text = f"# {title}\n"
    for heading, modules in parts.items():
        text += f"\n## {heading}\n"
        for line in modules:
            module, _, names = line.partition(": ")
            members = "".join(f"\n        - {member}" for member in names.split())
            text += f"\n::: medcli.{module}\n    options:\n      show_root_full_path: true\n"
            text += f"      members:{members}\n" if members else ""
    return text


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """The page's text with links that lead to the same place on the site."""
    own = {target: name for name, target in OWN_PAGES.items()}
    here = PurePosixPath(own.get(page.file.src_uri, f"docs/{page.file.src_uri}"))
    return re.sub(r"(?<=\]\()[^)\s:#]+(?=[)#])", lambda link: _on_site(here.parent, link[0]), markdown)


def _on_site(folder: PurePosixPath, target: str) -> str:
    file = (REPOSITORY / folder / target).resolve()
    if not file.exists():
        raise FileNotFoundError(f"{folder / target}: a page links to it")
    path = file.relative_to(REPOSITORY.resolve()).as_posix()
    if path in OWN_PAGES:
        return OWN_PAGES[path]
    if path.startswith("docs/") and not path.endswith(".py"):
        return path.removeprefix("docs/")
    return f"{URLS['Source']}/blob/main/{path}"

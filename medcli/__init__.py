"""One toolkit for the UltraBones100k and Veriserum orthopaedic imaging datasets.

What a script needs is importable from here, see ``docs/python.md``; each name loads its libraries on first use, so
``import medcli`` itself loads none.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

# On a Mac, operations that its GPU lacks run on the CPU; torch reads this when it is imported.
os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

if TYPE_CHECKING:  # the same names as in the table below, for type checkers and editors
    from medcli.core.errors import DataError as DataError
    from medcli.core.errors import MedcliError as MedcliError
    from medcli.core.errors import UsageError as UsageError
    from medcli.core.image_io import read_grey as read_grey
    from medcli.core.mesh import read_stl as read_stl
    from medcli.interchange.coco import convert_to_coco as convert_to_coco
    from medcli.interchange.croissant import describe_folder as describe_folder
    from medcli.interchange.implant_files import ImplantFileSettings as ImplantFileSettings
    from medcli.interchange.implant_files import convert_implants as convert_implants
    from medcli.interchange.implant_trials import ImplantSources as ImplantSources
    from medcli.interchange.imported_poses import import_autoscoper as import_autoscoper
    from medcli.interchange.imported_poses import import_jtml as import_jtml
    from medcli.interchange.nnunet import convert_to_nnunet as convert_to_nnunet
    from medcli.interchange.opensim import convert_to_opensim as convert_to_opensim
    from medcli.interchange.plus_sequence import convert_to_plus as convert_to_plus
    from medcli.interchange.publish_checkpoint import publish_checkpoint as publish_checkpoint
    from medcli.interchange.slicer_sweep import SlicerSweepSettings as SlicerSweepSettings
    from medcli.interchange.slicer_sweep import convert_sweeps_to_slicer
    from medcli.interchange.yolo import convert_to_yolo as convert_to_yolo
    from medcli.synthetic.fluoroscopy.dataset import make_veriserum as make_veriserum
    from medcli.synthetic.ultrasound.dataset import SweepSettings as SweepSettings
    from medcli.synthetic.ultrasound.dataset import make_ultrabones as make_ultrabones
    from medcli.ultrabones.checks.check_ultrabones import check_ultrabones as check_ultrabones
    from medcli.ultrabones.dataset.frame_index import index_frames
    from medcli.ultrabones.evaluation.evaluate import evaluate_segmentation as evaluate_segmentation
    from medcli.ultrabones.evaluation.prediction_sources import Model as Model
    from medcli.ultrabones.evaluation.prediction_sources import StoredMasks as StoredMasks
    from medcli.ultrabones.evaluation.settings import EvaluationSettings as EvaluationSettings
    from medcli.ultrabones.labelling.label_dataset import LabelSettings as LabelSettings
    from medcli.ultrabones.labelling.label_dataset import label_ultrabones
    from medcli.ultrabones.plus.import_plus import import_plus as import_plus
    from medcli.ultrabones.reconstruction.reconstruct import reconstruct_ultrabones
    from medcli.ultrabones.reconstruction.settings import ReconstructSettings as ReconstructSettings
    from medcli.ultrabones.segmentation.inference import Segmenter as Segmenter
    from medcli.ultrabones.segmentation.settings import SegmentationSettings as SegmentationSettings
    from medcli.ultrabones.segmentation.train import train_segmentation as train_segmentation
    from medcli.veriserum.calibration.distortion_model import DistortionModel
    from medcli.veriserum.calibration.undistort import CalibrationSettings as CalibrationSettings
    from medcli.veriserum.calibration.undistort import ImageSelection as ImageSelection
    from medcli.veriserum.calibration.undistort import calibrate
    from medcli.veriserum.checks.check_veriserum import check_veriserum as check_veriserum
    from medcli.veriserum.dataset.study import VeriserumStudy
    from medcli.veriserum.kinematics.compare_motion import compare_motion as compare_motion
    from medcli.veriserum.kinematics.kinematics import KinematicsSettings as KinematicsSettings
    from medcli.veriserum.kinematics.kinematics import compute_kinematics as compute_kinematics
    from medcli.veriserum.labelling.implant_masks import ImplantMaskSettings as ImplantMaskSettings
    from medcli.veriserum.labelling.implant_masks import label_implants as label_implants
    from medcli.veriserum.pose.evaluate import evaluate_pose as evaluate_pose
    from medcli.veriserum.pose.inference import PosePredictor as PosePredictor
    from medcli.veriserum.pose.settings import PoseSettings as PoseSettings
    from medcli.veriserum.pose.train import train_pose as train_pose
    from medcli.veriserum.registration.register import register_poses as register_poses
    from medcli.veriserum.registration.start_poses import Sources as Sources
    from medcli.viewing.settings import ViewSettings as ViewSettings
    from medcli.viewing.targets import find_target
    from medcli.viewing.view import save_view as save_view

    index_ultrabones = index_frames
    label_record = label_ultrabones
    reconstruct = reconstruct_ultrabones
    Distortion = DistortionModel
    calibrate_images = calibrate
    load_study = VeriserumStudy
    find_view = find_target
    convert_to_slicer = convert_sweeps_to_slicer

_PLACES = {
    "CalibrationSettings": "veriserum.calibration.undistort",
    "DataError": "core.errors",
    "Distortion": "veriserum.calibration.distortion_model:DistortionModel",
    "EvaluationSettings": "ultrabones.evaluation.settings",
    "ImageSelection": "veriserum.calibration.undistort",
    "ImplantFileSettings": "interchange.implant_files",
    "ImplantMaskSettings": "veriserum.labelling.implant_masks",
    "ImplantSources": "interchange.implant_trials",
    "KinematicsSettings": "veriserum.kinematics.kinematics",
    "LabelSettings": "ultrabones.labelling.label_dataset",
    "MedcliError": "core.errors",
    "Model": "ultrabones.evaluation.prediction_sources",
    "PosePredictor": "veriserum.pose.inference",
    "PoseSettings": "veriserum.pose.settings",
    "ReconstructSettings": "ultrabones.reconstruction.settings",
    "SegmentationSettings": "ultrabones.segmentation.settings",
    "Segmenter": "ultrabones.segmentation.inference",
    "SlicerSweepSettings": "interchange.slicer_sweep",
    "Sources": "veriserum.registration.start_poses",
    "StoredMasks": "ultrabones.evaluation.prediction_sources",
    "SweepSettings": "synthetic.ultrasound.dataset",
    "UsageError": "core.errors",
    "ViewSettings": "viewing.settings",
    "calibrate_images": "veriserum.calibration.undistort:calibrate",
    "check_ultrabones": "ultrabones.checks.check_ultrabones",
    "check_veriserum": "veriserum.checks.check_veriserum",
    "compare_motion": "veriserum.kinematics.compare_motion",
    "compute_kinematics": "veriserum.kinematics.kinematics",
    "convert_implants": "interchange.implant_files",
    "convert_to_coco": "interchange.coco",
    "convert_to_nnunet": "interchange.nnunet",
    "convert_to_opensim": "interchange.opensim",
    "convert_to_plus": "interchange.plus_sequence",
    "convert_to_slicer": "interchange.slicer_sweep:convert_sweeps_to_slicer",
    "convert_to_yolo": "interchange.yolo",
    "describe_folder": "interchange.croissant",
    "evaluate_pose": "veriserum.pose.evaluate",
    "evaluate_segmentation": "ultrabones.evaluation.evaluate",
    "find_view": "viewing.targets:find_target",
    "import_autoscoper": "interchange.imported_poses",
    "import_jtml": "interchange.imported_poses",
    "import_plus": "ultrabones.plus.import_plus",
    "index_ultrabones": "ultrabones.dataset.frame_index:index_frames",
    "label_implants": "veriserum.labelling.implant_masks",
    "label_record": "ultrabones.labelling.label_dataset:label_ultrabones",
    "load_study": "veriserum.dataset.study:VeriserumStudy",
    "make_ultrabones": "synthetic.ultrasound.dataset",
    "make_veriserum": "synthetic.fluoroscopy.dataset",
    "publish_checkpoint": "interchange.publish_checkpoint",
    "read_grey": "core.image_io",
    "read_stl": "core.mesh",
    "reconstruct": "ultrabones.reconstruction.reconstruct:reconstruct_ultrabones",
    "register_poses": "veriserum.registration.register",
    "save_view": "viewing.view",
    "train_pose": "veriserum.pose.train",
    "train_segmentation": "ultrabones.segmentation.train",
}
"""Public name -> module below ``medcli``, and its name there where it has another one."""

__all__ = [*_PLACES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'medcli' has no attribute {name!r}")
    module, _, there = _PLACES[name].partition(":")
    value = globals()[name] = getattr(import_module(f"medcli.{module}"), there or name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

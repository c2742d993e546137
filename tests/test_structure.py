"""How the package is built: which way imports run, what is named how, and where each module is tested.

Imports are read from the source with ``ast``: those inside functions and under ``TYPE_CHECKING`` count as well.
Each test lists all that is wrong at once.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

LONGEST_MODULE = 350
MODULES_IN_A_FOLDER = 20

_SHARED = {"core", "transfer", "training", "sources"}
_DATASETS = {"ultrabones", "veriserum"}
MAY_IMPORT = {
    "core": set(),
    "transfer": {"core"},
    "training": {"core"},
    "sources": {"core", "transfer"},
    "ultrabones": _SHARED,
    "veriserum": _SHARED,
    "synthetic": _SHARED | _DATASETS,
    "workspace": _SHARED | _DATASETS,
    "interchange": _SHARED | _DATASETS,
    "report": _SHARED | _DATASETS | {"workspace"},
    "viewing": _SHARED | _DATASETS | {"workspace"},
    "demo": _SHARED | _DATASETS | {"workspace", "report", "synthetic"},
    "cli": _SHARED | _DATASETS | {"workspace", "interchange", "report", "viewing", "synthetic", "demo"},
    "__main__": {"cli"},
}
"""What each package of ``medcli`` may import beside itself; the version in ``medcli/__init__.py`` is for all, which
imports the public names of the others when they are used, and nothing before."""
MAY_IMPORT_INSIDE = {
    "ultrabones": {
        "dataset": set(),
        "download": {"dataset", "segmentation"},  # published weights are converted once they are here
        "geometry": {"dataset"},
        "pose_refinement": {"dataset", "geometry"},
        "labelling": {"dataset", "geometry", "pose_refinement"},
        "reconstruction": {"dataset", "geometry", "pose_refinement", "labelling"},
        "registration": {"dataset", "geometry", "pose_refinement", "labelling", "reconstruction"},
        "segmentation": {"dataset"},
        "evaluation": {"dataset", "segmentation"},
        "checks": {"dataset", "geometry", "labelling"},
        "plus": {"dataset"},
        "probe_calibration": {"dataset", "geometry"},
    },
    "veriserum": {
        "dataset": set(),
        "download": {"dataset"},
        "geometry": {"dataset"},
        "calibration": {"dataset"},
        "registration": {"dataset", "geometry", "calibration"},
        "pose": {"dataset", "geometry", "calibration"},
        "kinematics": {"dataset", "geometry", "calibration", "registration", "pose"},
        "labelling": {"dataset", "geometry", "calibration", "registration"},
        "checks": {"dataset", "geometry", "calibration", "registration", "kinematics", "labelling"},
    },
}
"""The order inside a dataset's package."""
TESTED_IN = {
    "ultrabones/segmentation/augmentation/test_trivial.py": "ultrabones/segmentation/augmentation/plan",
    "ultrabones/segmentation/augmentation/test_kernels.py": "ultrabones/segmentation/augmentation/table",
    "training/checkpoint_files/test_safe_unpickler.py": "training/checkpoint_files/inert_values",
    "cli/shared/test_command_group.py": "cli/shared/verbs",
    "cli/shared/test_help_page.py": "cli/shared/help_panels",
    "cli/test_app.py": "__main__",
    "cli/test_download.py": "cli/shared/download_output",
    "core/image_formats/test_damage.py": "core/image_formats/bmp",
    "core/image_formats/test_jpeg_scans.py": "core/image_formats/jpeg_kernels",
    "core/image_formats/test_png.py": "core/image_formats/png_kernels",
    "core/image_formats/test_tiff.py": "core/image_formats/tiff_kernels",
    "sources/test_dspace.py": "sources/answers",
    "synthetic/fluoroscopy/test_dataset.py": (
        "synthetic/fluoroscopy/calibrations synthetic/fluoroscopy/grid_phantom synthetic/fluoroscopy/motion "
        "synthetic/fluoroscopy/xray"
    ),
    "synthetic/fluoroscopy/test_implants.py": "synthetic/fluoroscopy/solids",
    "synthetic/ultrasound/test_dataset.py": "synthetic/ultrasound/bmode",
    "training/test_run_folder.py": "training/training_run",
    "transfer/test_download.py": "transfer/request",
    "transfer/test_http.py": "transfer/pace",
    "ultrabones/evaluation/test_published_split.py": "ultrabones/dataset/published_records",
    "ultrabones/reconstruction/test_cleaning.py": "ultrabones/reconstruction/cleaning_options",
    "ultrabones/checks/test_check_ultrabones.py": (
        "cli/check core/checking/image_kinds ultrabones/checks/check_images ultrabones/checks/check_tables"
    ),
    "veriserum/checks/test_check_veriserum.py": (
        "veriserum/checks/check_knee veriserum/checks/check_pairs veriserum/checks/check_pose_table"
    ),
    "veriserum/kinematics/test_axes_guess.py": (
        "veriserum/kinematics/femoral_axes veriserum/kinematics/surface_samples veriserum/kinematics/tray_axes"
    ),
    "veriserum/kinematics/test_compare_motion.py": "cli/evaluate/knee_motion veriserum/kinematics/agreement",
    "veriserum/kinematics/test_kinematics.py": (
        "cli/kinematics veriserum/kinematics/axes_figure veriserum/kinematics/motion_figure "
        "veriserum/kinematics/opensim_file veriserum/kinematics/study_axes"
    ),
    "veriserum/kinematics/test_knee_frames.py": "veriserum/kinematics/pose_rows",
    "veriserum/kinematics/test_motion.py": "veriserum/kinematics/knee_sides",
    "veriserum/labelling/test_implant_masks.py": "veriserum/labelling/mask_sheet",
    "ultrabones/download/test_download.py": ("transfer/archives transfer/byte_counter ultrabones/download/connection"),
    "ultrabones/dataset/test_frame_index.py": "ultrabones/dataset/record_frames",
    "ultrabones/evaluation/test_evaluate.py": "cli/evaluate/frames",
    "ultrabones/evaluation/test_evaluation_plan.py": "ultrabones/evaluation/settings",
    "ultrabones/evaluation/test_reproduce.py": "cli/benchmark",
    "ultrabones/geometry/test_bone_surface.py": "ultrabones/geometry/triangle_tree",
    "ultrabones/labelling/test_label_dataset.py": (
        "ultrabones/dataset/mesh_files "
        "cli/label ultrabones/geometry/bone_meshes ultrabones/labelling/label_record "
        "ultrabones/pose_refinement/refine_record"
    ),
    "ultrabones/plus/test_import_plus.py": (
        "cli/import_files/plus ultrabones/plus/meta_image ultrabones/plus/tracked_frames"
    ),
    "ultrabones/probe_calibration/test_calibrate_probe.py": (
        "cli/calibrate_probe ultrabones/probe_calibration/least_squares "
        "ultrabones/probe_calibration/observations ultrabones/probe_calibration/table_headers"
    ),
    "ultrabones/pose_refinement/test_refine_together.py": (
        "report/bones/refined_poses ultrabones/pose_refinement/fit_curve ultrabones/pose_refinement/refinement_report "
        "ultrabones/pose_refinement/refinement_summary"
    ),
    "ultrabones/reconstruction/test_reconstruct.py": (
        "cli/reconstruct ultrabones/reconstruction/cloud_files ultrabones/reconstruction/figure "
        "ultrabones/reconstruction/mask_points ultrabones/reconstruction/settings"
    ),
    "interchange/test_autoscoper_files.py": (
        "cli/convert/implants cli/import_files/implant_poses interchange/implant_files interchange/implant_trials "
        "interchange/imported_poses"
    ),
    "interchange/test_nnunet.py": "cli/convert/labelled interchange/notes",
    "interchange/test_opensim.py": "cli/convert/tables",
    "interchange/test_plus_sequence.py": "cli/convert/tracked interchange/tracked_poses",
    "interchange/test_publish_checkpoint.py": "cli/publish interchange/model_card",
    "interchange/test_slicer_files.py": "interchange/slicer_sweep",
    "ultrabones/registration/test_evaluate_registration.py": (
        "cli/evaluate/registration ultrabones/registration/record_clouds"
    ),
    "ultrabones/registration/test_register_bone.py": (
        "cli/register/bone report/bones/registration ultrabones/registration/mesh_folder workspace/bone_figures"
    ),
    "ultrabones/registration/test_register_cloud.py": (
        "ultrabones/registration/clean_cloud ultrabones/registration/determined_directions "
        "ultrabones/registration/global_start ultrabones/registration/grid_refinement "
        "ultrabones/registration/hypotheses ultrabones/registration/surface_fit "
        "ultrabones/registration/surface_samples ultrabones/registration/verdict"
    ),
    "ultrabones/segmentation/test_checkpoint.py": "cli/checkpoint",
    "ultrabones/segmentation/onnx_graph/test_export.py": "cli/export",
    "ultrabones/segmentation/onnx_graph/test_run.py": "ultrabones/segmentation/frame_segmenter",
    "ultrabones/segmentation/test_predict.py": "ultrabones/segmentation/frame_reader cli/predict",
    "ultrabones/segmentation/test_train.py": "cli/train",
    "veriserum/calibration/grid_fit/test_fit_calibration.py": (
        "veriserum/calibration/grid_fit/grid_images "
        "veriserum/calibration/grid_fit/figure veriserum/calibration/grid_fit/phantom "
        "veriserum/calibration/grid_fit/polynomial_fit veriserum/dataset/detector"
    ),
    "veriserum/calibration/test_undistort.py": (
        "cli/calibrate veriserum/calibration/output_manifest veriserum/calibration/undistort_plan"
    ),
    "veriserum/calibration/test_undistortion_map.py": "veriserum/calibration/undistortion_kernels",
    "veriserum/dataset/test_status.py": "veriserum/dataset/publication",
    "veriserum/dataset/test_trial_splits.py": "veriserum/dataset/database veriserum/dataset/folder_index",
    "veriserum/geometry/test_biplane.py": "veriserum/geometry/rasterizer",
    "veriserum/test_download.py": "veriserum/dataset/download_selection",
    "veriserum/pose/test_metrics.py": "veriserum/dataset/anatomies veriserum/dataset/implant_surfaces",
    "veriserum/pose/test_pairs.py": "veriserum/pose/pair_images veriserum/pose/settings",
    "veriserum/pose/test_train.py": (
        "cli/evaluate/implant_poses veriserum/pose/checkpoint_metadata "
        "veriserum/pose/evaluation_plan "
        "veriserum/pose/checkpoint veriserum/pose/estimates veriserum/pose/evaluate veriserum/pose/figures "
        "veriserum/pose/inference veriserum/pose/lightning_module veriserum/pose/predict"
    ),
    "veriserum/registration/test_gradient_matching.py": (
        "veriserum/registration/image_windows veriserum/registration/resolution_levels"
    ),
    "veriserum/registration/test_pose_search.py": "veriserum/registration/orientation_matching",
    "veriserum/registration/test_register.py": "cli/register/implants",
    "veriserum/registration/test_trial_motion.py": "veriserum/registration/inside_kernel",
    "veriserum/registration/test_register_trial.py": (
        "veriserum/registration/trial_overlays veriserum/registration/trial_tracking"
    ),
    "viewing/test_view.py": (
        "cli/view viewing/bone_scene viewing/layouts viewing/record_scene viewing/rerun_file viewing/settings "
        "viewing/xray_frames viewing/xray_scene"
    ),
    "workflows/test_demo.py": (
        "cli/demo cli/shared/command_runner "
        "demo/calibration_figures demo/data demo/fluoroscopy demo/knee_motion demo/run demo/ultrasound"
    ),
    "workflows/test_report_of_runs.py": (
        "workspace/report_folder "
        "cli/report report/calibration report/demo report/labels_and_bones report/pose report/provenance "
        "report/segmentation report/training report/write"
    ),
    "workflows/test_report_of_motion.py": (
        "report/kinematics report/motion_comparison report/moving_bodies_view report/tracked_trials "
        "workspace/motion_figures"
    ),
    "workspace/test_inventory.py": "cli/info workspace/next_commands",
    "workspace/test_run_comparison.py": (
        "cli/runs report/comparison workspace/run_figures workspace/run_listing workspace/run_repeat"
    ),
    "workspace/test_runs.py": "workspace/pose_table_header workspace/resume workspace/run_damage",
}
"""By test file below `tests`, the modules below `medcli` that are tested there and have no file of the same name."""


def modules_below(folder: str) -> dict[str, Path]:
    """The file of each module by its name with dots; a package has the name of its folder."""
    found = {}
    for path in sorted((REPOSITORY / folder).rglob("*.py")):
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules_below("medcli")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


@cache
def imported_names(path: Path) -> frozenset[str]:
    """Modules, and names that may be modules, as the imports of a file write them."""
    names = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports are not used"
            names |= {f"{node.module}.{name.name}" for name in node.names}
    return frozenset(names)


@cache
def imports_of(path: Path) -> frozenset[str]:
    """The modules of ``medcli`` that a file imports; the package itself where a name is none of its modules."""
    if path == MODULES["medcli"]:  # its public names are imported when they are used
        return frozenset()
    names = imported_names(path)
    return frozenset(name if name in MODULES else name.rpartition(".")[0] for name in names) & MODULES.keys()


def in_package(module: str) -> str:
    """``core`` of ``medcli.core.files``; empty for ``medcli``."""
    return ".".join(module.split(".")[1:2])


def wrong_arrows(order: Mapping[str, set[str]], below: str) -> list[str]:
    """Imports between the packages below ``below`` that run against ``order``."""
    found = []
    for module, path in MODULES.items():
        if not module.startswith(f"{below}."):
            continue
        here = module.removeprefix(f"{below}.").split(".")[0]
        if here not in order:
            found.append(f"{module}: {below}.{here} has no place in the order")
            continue
        for target in sorted(imports_of(path)):
            there = target.removeprefix(f"{below}.").split(".")[0]
            if target.startswith(f"{below}.") and there != here and there not in order[here]:
                found.append(f"{module} imports {target}: {here} does not build on {there}")
    return found


def check_none(found: Iterable[str]) -> None:
    lines = list(found)
    if lines:
        pytest.fail(f"{len(lines)} to mend:\n" + "\n".join(lines), pytrace=False)


def test_arrows_between_packages_run_one_way() -> None:
    check_none(wrong_arrows(MAY_IMPORT, "medcli"))


def test_datasets_do_not_import_each_other_and_nothing_imports_the_command_line() -> None:
    for package in _DATASETS:
        assert not MAY_IMPORT[package] & _DATASETS
    assert [package for package, others in MAY_IMPORT.items() if "cli" in others] == ["__main__"]


def test_arrows_inside_a_dataset_run_one_way() -> None:
    check_none(wrong for name, order in MAY_IMPORT_INSIDE.items() for wrong in wrong_arrows(order, f"medcli.{name}"))


def test_the_orders_have_no_circle() -> None:
    for order in (MAY_IMPORT, *MAY_IMPORT_INSIDE.values()):
        assert circles({name: others & order.keys() for name, others in order.items()}) == []


def circles(graph: Mapping[str, set[str] | frozenset[str]]) -> list[list[str]]:
    """The groups of names that lead back to themselves (strongly connected components, by Tarjan's algorithm)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    waiting: list[str] = []
    found = []

    def visit(name: str) -> None:
        number[name] = lowest[name] = len(number)
        waiting.append(name)
        for target in sorted(graph[name]):
            if target not in number:
                visit(target)
            if target in waiting:
                lowest[name] = min(lowest[name], lowest[target])
        if lowest[name] == number[name]:
            group = [waiting.pop()]
            while group[-1] != name:
                group.append(waiting.pop())
            if len(group) > 1 or name in graph[name]:
                found.append(sorted(group))

    for name in graph:
        if name not in number:
            visit(name)
    return sorted(found)


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"e"}}) == [["a", "b", "c"], ["e"]]
    graph = {module: imports_of(path) for module, path in MODULES.items()}
    found = []
    for group in circles(graph):
        arrows = [f"{one} -> {other}" for one in group for other in sorted(graph[one]) if other in group]
        found.append("; ".join(arrows))
    check_none(found)


def test_folders_and_modules_are_small() -> None:
    found = []
    by_folder: dict[Path, int] = defaultdict(int)
    for path in MODULES.values():
        lines = len(path.read_text("utf-8").splitlines())
        if lines > LONGEST_MODULE:
            found.append(f"{path.relative_to(REPOSITORY)} has {lines} lines, more than {LONGEST_MODULE}")
        by_folder[path.parent] += path.name != "__init__.py"
    found += [
        f"{folder.relative_to(REPOSITORY)} has {count} modules, more than {MODULES_IN_A_FOLDER}"
        for folder, count in by_folder.items()
        if count > MODULES_IN_A_FOLDER
    ]
    check_none(found)


def test_public_names_are_unique() -> None:
    """A search for a class or function finds its one meaning; the functions of commands are named as the commands."""
    places = defaultdict(list)
    for module, path in MODULES.items():
        for node in tree_of(path).body:
            is_function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            if is_function and in_package(module) == "cli":
                continue
            if (is_function or isinstance(node, ast.ClassDef)) and not node.name.startswith("_"):
                places[node.name].append(module)
    check_none(f"{name} is in {', '.join(modules)}" for name, modules in places.items() if len(set(modules)) > 1)


def own_test(path: Path) -> Path:
    """``tests/a/b/test_c.py`` of ``medcli/a/b/c.py``."""
    below = path.relative_to(REPOSITORY / "medcli")
    return REPOSITORY / "tests" / below.parent / f"test_{below.name}"


@cache
def reached_by(test: Path) -> set[str]:
    """The modules that a test's imports lead to, and those of the commands that it names."""
    support = modules_below("tests/support")
    words = {node.value for node in ast.walk(tree_of(test)) if isinstance(node, ast.Constant)}
    waiting = [
        path for module, path in MODULES.items() if in_package(module) == "cli" and module.rpartition(".")[2] in words
    ]
    if {"-m", "medcli"} <= words:
        waiting.append(MODULES["medcli.__main__"])
    found = {module for module, path in MODULES.items() if path in waiting}
    seen = set()
    waiting.append(test)
    while waiting:
        path = waiting.pop()
        seen.add(path)
        names = imported_names(path)
        names |= {name.rpartition(".")[0] for name in names}
        found |= imports_of(path)
        reached = [support[name] for name in names & support.keys()] + [MODULES[name] for name in imports_of(path)]
        waiting += [path for path in reached if path not in seen]
    return found


def test_every_module_is_tested_somewhere() -> None:
    found = []
    named = {module: test for test, modules in TESTED_IN.items() for module in modules.split()}
    known = {path.relative_to(REPOSITORY / "medcli").with_suffix("").as_posix(): path for path in MODULES.values()}
    for name, path in known.items():
        if path.name == "__init__.py" or own_test(path).exists():
            if name in named:
                found.append(f"{name} has a test of its own: its name goes from TESTED_IN")
        elif name not in named:
            mirror = own_test(path).relative_to(REPOSITORY).as_posix()
            found.append(f"{name} has neither {mirror} nor a place in TESTED_IN")
        elif not (REPOSITORY / "tests" / named[name]).is_file():
            found.append(f"{name}: tests/{named[name]} does not exist")
        elif f"medcli/{name}".replace("/", ".") not in reached_by(REPOSITORY / "tests" / named[name]):
            found.append(f"{name}: tests/{named[name]} neither imports it nor runs its command")
    found += [f"{name} is in TESTED_IN but does not exist" for name in named if name not in known]
    check_none(found)


def test_every_test_lies_where_its_module_lies() -> None:
    """What tests several modules lies in `tests/workflows` or needs a GPU, what tests the repository in `tests`."""
    tests = [path.relative_to(REPOSITORY / "tests") for path in (REPOSITORY / "tests").rglob("test_*.py")]
    elsewhere = [path for path in tests if path.parent != Path() and path.parts[0] not in ("workflows", "gpu")]
    modules = {path: REPOSITORY / "medcli" / path.parent / path.name.removeprefix("test_") for path in elsewhere}
    check_none(f"tests/{path.as_posix()}: {file} does not exist" for path, file in modules.items() if not file.exists())


def test_lines_end_alike_on_every_system() -> None:
    """Files of one system are used on others, and digests of texts must agree: no line may end as the system's do."""
    found = []
    for path in MODULES.values():
        for node in ast.walk(tree_of(path)):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            name, keywords = node.func.attr, {word.arg for word in node.keywords}
            of = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
            needs = "lineterminator" if name == "to_csv" or (of == "csv" and name in ("writer", "DictWriter")) else ""
            needs = "newline" if name == "write_text" and of not in ("files", "formatter") else needs
            if needs and needs not in keywords:
                found.append(f"{path.relative_to(REPOSITORY)}:{node.lineno}: {name} without {needs}=")
    check_none(found)

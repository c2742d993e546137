"""Which panel of the help an option stands in: one table for all commands, so that no command declares it.

A test walks over all commands and fails for an option that is missing here.
"""

from __future__ import annotations

ARGUMENTS, OPTIONS = "Arguments", "Options"
COMMANDS = ("Start", "Data", "Ultrasound", "X-ray", "Networks", "Results", "Commands")
"""The panels of commands, in the order of a study; those of a group without panels are in the last."""
PANELS = {
    "Data": (
        "--root --specimens --train-specimens --val-specimens --test-specimens --cv --anatomies "
        "--anatomy --records --only --ids --id "
        "--split --labels --limit-frames --limit-pairs --mask --meshes --merged --probe --poses --start --init "
        "--reference "
        "--predictions --calibrated --calibration --distortion --source-calibration --inter-plane --pose-frame "
        "--transform --frames --phantom --implants --axes --trials --side --frame-rate --pair "
        "--plane --planes --skip-obsolete "
        "--ultrabones-root --ultrabones-hip-root --veriserum-root --weights-root --runs"
    ),
    "Source": (
        "--name --repository --source --connection-string-file --container --revision --base-url --item "
        "--accept-license --timeout --retries --verify"
    ),
    "Network": "--checkpoint --arch --encoder --encoder-weights --backbone --backbone-weights --threshold --tta",
    "Training": (
        "--recipe --epochs --batch-size --lr --augment --loss --loss-weights --monitor --early-stop --resume --logger"
    ),
    "Method": (
        "--protocol --visible-threshold --fail-under --refine --bound --kind --visible-rule --voxel-mm --outlier-sd "
        "--radius-mm --spacing-mm --rows --columns --least-similarity --search --smooth --model --mirrored "
        "--starts --success-mm --success-deg "
        "--to --resample --size --sample --all --quick --data-only --seed"
    ),
    "Hardware": "--device --gpus --engine --nodes --precision --compile --workers --no-cache",
    "Output": (
        "--out --report --dest --format --quality --overlay --overlays --figure --normals --surface --layout "
        "--single-file --save --web --every --polygons --points --compress --dataset-id --evaluation "
        "--private --push --yes --skip-existing --no-figures --overwrite --dry-run"
    ),
    "Every command": "--config --json --quiet --verbose --help",
}
"""The panels in their order, with the options of all commands; the few of groups are in a panel of their own."""
ELSEWHERE = {
    "calibrate --mask": "Output",
    "calibrate --size": "Output",
    "convert --name": "Output",
    "train --size": "Network",
    "train --seed": "Training",
    "predict --batch-size": "Hardware",
}
"""Options that mean something else for a verb."""
_PANEL_OF = {flag: panel for panel, flags in PANELS.items() for flag in flags.split()}


def panel_of(command_path: str, flag: str) -> str | None:
    """The panel of an option of the command ``medcli train seg``; None if the table does not have it."""
    verb = " ".join(command_path.split()[1:2])
    return ELSEWHERE.get(f"{verb} {flag}") or _PANEL_OF.get(flag)

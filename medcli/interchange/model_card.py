"""The model card of a checkpoint: what it is, what it was trained on, under which licence, and how good it is.

Source: the page *Model cards* of the Hugging Face Hub's documentation. The metadata at its top are written by
huggingface_hub itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medcli import __version__
from medcli.core.errors import DataError, numbered, quantity
from medcli.core.json_text import read_object, recorded_path
from medcli.core.run_provenance import synthetic_training
from medcli.core.shell import spell
from medcli.interchange.notes import sha256_of
from medcli.training.weights import SUFFIX
from medcli.ultrabones.segmentation.checkpoint_metadata import Metadata, read_metadata
from medcli.veriserum.pose.checkpoint_metadata import SCHEMA as POSE_SCHEMA
from medcli.veriserum.pose.checkpoint_metadata import PoseMetadata, read_pose_metadata

EVALUATION = "evaluation.json"
_LISTED_MM = (0.5, 1.0, 2.0)
_MEASURES = ("f1", "precision", "recall")
_SCALARS = {"dice": "Dice", "assd_mm": "mean surface distance, mm", "hd95_mm": "95 % Hausdorff distance, mm"}
_OF_THE_RUN = ("lr", "train_loss", "seconds", "frames_per_second", "epoch")
"""Values of a training's log that say nothing of how good the network is."""
_LICENCES: dict[str, dict[str, Any]] = {
    "CC BY 4.0": {"license": "cc-by-4.0", "datasets": ["luohwu/UltraBones100k"]},
    "CC BY-NC 4.0": {"license": "cc-by-nc-4.0", "datasets": ["luohwu/UltraBonesHip"]},
    "Non-Commercial": {
        "license": "other",
        "license_name": "in-copyright-non-commercial",
        "license_link": "https://rightsstatements.org/page/InC-NC/1.0/",
    },
}
_NOT_FOR_PATIENTS = "Research software; **not a medical device**, and not to be used for diagnosis or treatment."


@dataclass(frozen=True)
class CardedCheckpoint:
    """A checkpoint with what its card says.

    Attributes:
        network: in words.
        trained_on: specimens or ids, in words.
        licence, citation: of the data that it was trained on.
    """

    path: Path
    kind: str
    network: str
    trained_on: str
    licence: str
    citation: str
    metadata: Metadata | PoseMetadata


def read_carded(path: Path) -> CardedCheckpoint:
    """What a checkpoint of medcli says of itself, without reading its weights.

    Raises:
        DataError: it is none, or another program's.
    """
    if path.suffix != SUFFIX:
        raise DataError(
            f"{path} is not a {SUFFIX} file: only those say what they were trained on",
            spell("medcli", "checkpoint", "convert", path, path.with_suffix(SUFFIX)),
        )
    from medcli.training.checkpoint_files.safetensors_header import read_safetensors_header
    from medcli.training.description import parse_description
    from medcli.training.weights import HEADER_KEY

    try:
        schema = parse_description(read_safetensors_header(path).metadata.get(HEADER_KEY, "{}")).get("schema")
    except ValueError as error:
        raise DataError(f"{path} does not describe its network: {error}") from error
    if schema == POSE_SCHEMA:
        pose = read_pose_metadata(path)
        network = f"implant pose network, {pose.backbone}, {pose.size} x {pose.size} pixels of each plane"
        ids = pose.splits.get("train") or ""
        words = f"pairs {ids}" if ids else "unknown pairs"
        trained = f"{words} of Veriserum, anatomies {' '.join(map(str, pose.anatomies))}"
        return _described(CardedCheckpoint(path, "pose", network, trained, pose.licence, pose.citation, pose))
    found = read_metadata(path)
    network = f"segmentation network, {found.arch} on {found.encoder}, {found.input_size} x {found.input_size} pixels"
    train = found.train_specimens
    trained = numbered("specimen", train) if train else "nothing: untrained" if train == () else "unknown specimens"
    return _described(CardedCheckpoint(path, "segmentation", network, trained, found.licence, found.citation, found))


def _described(carded: CardedCheckpoint) -> CardedCheckpoint:
    """With nobody's licence where the note of the training beside it says that the data were synthetic."""
    about = synthetic_training(carded.path)
    if about is None:
        return carded
    trained = f"{carded.trained_on}; {about.dataset}"
    return replace(carded, trained_on=trained, licence=about.licence, citation=about.citation)


def read_evaluations(folder: Path | None, carded: CardedCheckpoint) -> dict[str, dict[str, Any]]:
    """The results of an evaluation by protocol; none where no folder is given.

    Raises:
        DataError: there is no evaluation of this kind, or one of another checkpoint.
    """
    if folder is None:
        return {}
    path = folder / EVALUATION if folder.is_dir() else folder
    content = read_object(path)
    results = {content["protocol"]: content} if "protocol" in content else {"pose": content}
    if "schema" not in content:
        results = {name: one for name, one in content.items() if isinstance(one, dict)}
    wanted = "medcli.evaluate.pose." if carded.kind == "pose" else "medcli.evaluate.seg."
    if not results or not all(str(one.get("schema", "")).startswith(wanted) for one in results.values()):
        raise DataError(
            f"{path} is no evaluation of a {carded.kind} network", "name a folder of medcli evaluate with --evaluation"
        )
    train = getattr(carded.metadata, "train_specimens", None)
    for one in results.values():
        other = one.get("train_specimens")
        if train is not None and other is not None and sorted(train) != sorted(other):
            raise DataError(
                f"{path} is of a network that was {_trained_on(other)}, {carded.path} was {_trained_on(train)}",
                "evaluate this checkpoint: medcli evaluate --checkpoint",
            )
        _check_same(path, str(one.get("source", "")), carded.path, "pose" if carded.kind == "pose" else "seg")
    return results


def _trained_on(specimens: Sequence[int]) -> str:
    return f"trained on specimens {' '.join(map(str, specimens))}" if specimens else "not trained"


def _check_same(evaluation: Path, source: str, checkpoint: Path, kind: str) -> None:
    """Refuse an evaluation of no network, of another one, or of one that is not there and has another name."""
    hint = f"evaluate this one: {spell('medcli', 'evaluate', kind, '--checkpoint', checkpoint)}"
    of = recorded_path(source)
    if of.suffix != SUFFIX:
        raise DataError(f"{evaluation} is of {source or 'an unknown source'}, not of the network {checkpoint}", hint)
    named = _file_of(evaluation, source)
    if named is None and of.name != checkpoint.name:
        raise DataError(f"{evaluation} is of {source}, which is not there: it may be another than {checkpoint}", hint)
    if named is not None and sha256_of(named) != sha256_of(checkpoint):
        raise DataError(f"{evaluation} is of {source}, which is another checkpoint than {checkpoint}", hint)


def _file_of(evaluation: Path, source: str) -> Path | None:
    """The checkpoint that an evaluation names, from here or a folder above the evaluation; None: it is not there."""
    places = (folder / recorded_path(source) for folder in (Path(), *evaluation.absolute().parents))
    return next((place for place in places if place.is_file()), None)


def missing_sources(folder: Path | None, evaluations: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The checkpoints that evaluations (see :func:`read_evaluations`) name, and that are not there to be compared."""
    named = dict.fromkeys(str(one.get("source", "")) for one in evaluations.values())
    return [source for source in named if folder is not None and _file_of(folder / EVALUATION, source) is None]


def write_card(
    carded: CardedCheckpoint, repository: str, evaluations: Mapping[str, Mapping[str, Any]], file: str
) -> str:
    """The text of ``README.md``.

    Args:
        repository: ``owner/name``.
        evaluations: protocol -> result, see :func:`read_evaluations`.
        file: name of the checkpoint in the repository.
    """
    from huggingface_hub import ModelCardData

    verb = "pose" if carded.kind == "pose" else "seg"
    data = ModelCardData(
        **next((dict(found) for words, found in _LICENCES.items() if words in carded.licence), {}),
        library_name="medcli",
        pipeline_tag="image-segmentation" if verb == "seg" else None,
        tags=["medical-imaging", "orthopaedics", "ultrasound" if verb == "seg" else "fluoroscopy", "medcli"],
    )
    name = repository.rpartition("/")[2]
    article = "An" if carded.network[0] in "aeiou" else "A"
    parts = [
        f"---\n{data.to_yaml().strip()}\n---",
        f"# {name}",
        f"{article} {carded.network}. Trained on {carded.trained_on}. {_NOT_FOR_PATIENTS}",
        "## Use",
        f"```sh\nhf download {repository} {file} --local-dir .\nmedcli checkpoint show {file}\n"
        f"medcli predict {verb} images/ --checkpoint {file}\n```",
        "## Training",
        _rows(_training(carded)),
        "## Evaluation",
        *_evaluation(evaluations),
        "## Licence and citation",
        f"Data: {carded.licence or 'no licence is stated'}."
        + (f" Cite: {carded.citation}." if carded.citation else ""),
        f"Card written by medcli {__version__}.",
    ]
    return "\n\n".join(parts) + "\n"


def _training(carded: CardedCheckpoint) -> dict[str, str]:
    metadata = carded.metadata
    splits = metadata.splits
    rows = {"trained on": carded.trained_on, "source": metadata.source}
    if splits.get("val"):
        rows["validated on"] = (
            str(splits["val"]) if isinstance(splits["val"], str) else numbered("specimen", splits["val"])
        )
    if splits.get("donor_overlap"):
        rows["donors on both sides"] = " ".join(map(str, splits["donor_overlap"]))
    measured = {
        name: value for name, value in metadata.metrics.items() if name not in _OF_THE_RUN and _is_number(value)
    }
    rows |= {f"validation {name.removeprefix('val_')}": f"{value:.4g}" for name, value in measured.items()}
    chosen = ("epochs", "batch_size", "lr", "loss", "augment", "seed")
    rows |= {name: str(metadata.settings[name]) for name in chosen if metadata.settings.get(name) not in (None, [], ())}
    for number, warning in enumerate(splits.get("warnings") or (), start=1):
        rows[f"warning {number}"] = str(warning)
    return rows


def _evaluation(evaluations: Mapping[str, Mapping[str, Any]]) -> list[str]:
    if not evaluations:
        return ["No evaluation was published with this checkpoint."]
    return [part for name, one in evaluations.items() for part in _protocol(name, one)]


def _count(one: Mapping[str, Any], noun: str) -> str:
    found = one.get(f"{noun}s")
    return quantity(found, noun) if isinstance(found, int) else f"an unknown number of {noun}s"


def _protocol(name: str, one: Mapping[str, Any]) -> list[str]:
    if name == "pose":
        rows = {key: f"median {value.get('median', float('nan')):.3g}" for key, value in one.get("errors", {}).items()}
        return [f"{_count(one, 'pair')}, {one.get('split', '')}:".replace(", :", ":"), _rows(rows)]
    specimens = numbered("specimen", one.get("specimens", ()))
    words = f"{name.capitalize()} protocol, {_count(one, 'frame')} of {specimens}"
    overlap = [str(pair.get("donor")) for pair in one.get("donor_overlap") or () if isinstance(pair, dict)]
    note = f"; the other leg of {'donor' if len(overlap) == 1 else 'donors'} {' '.join(overlap)} was trained on"
    rows = {}
    for measure in _MEASURES:
        curve = (one.get(measure) or {}).get("all") or []
        values = [_at(curve, one.get("thresholds_mm") or [], place) for place in _LISTED_MM]
        if any(values):
            rows[f"{measure} within {', '.join(f'{place:g}' for place in _LISTED_MM)} mm"] = ", ".join(
                value or "-" for value in values
            )
    rows |= {title: f"{one[key]:.3g}" for key, title in _SCALARS.items() if _is_number(one.get(key))}
    return [f"{words}{note if overlap else ''}.", _rows(rows)]


def _at(curve: Sequence[Any], thresholds: Sequence[float], place: float) -> str:
    found = next((value for mm, value in zip(thresholds, curve, strict=False) if abs(mm - place) < 1e-6), None)
    return f"{found:.3f}" if _is_number(found) else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _rows(rows: Mapping[str, str]) -> str:
    lines = [f"| {name} | {value.replace('|', '/')} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])

"""Reports of ``medcli evaluate seg`` and ``medcli predict seg``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from medcli.core.errors import numbered, quantity
from medcli.report.blocks import Block, Chart, ImageBlock, Key, Note, Section, Table, Text, number
from medcli.report.charts import Axes, Curve, draw
from medcli.report.embedded_images import NARROW, embed_image, gallery
from medcli.report.run_files import (
    Json,
    ProvenanceRecord,
    RunReport,
    duration,
    failures_note,
    find,
    read_json,
    sentence,
    to_float,
)
from medcli.ultrabones.dataset.published_networks import UNKNOWN_TRAINING
from medcli.ultrabones.evaluation.metrics import LISTED, REGIONS, Measure, curve_measures, notes_of, scalar_measures
from medcli.ultrabones.evaluation.published_result import TOLERANCE, published_curves
from medcli.workspace.runs import EVALUATION, MASKS

EVALUATED = "medcli.evaluate.seg.v1"
_EXAMPLE_TITLES = {"best": "Best frames", "median": "Median frames", "worst": "Worst frames"}
_COLOURS = "Label in green, outline of the prediction in pink."
_PROTOCOLS = {
    "paper": "Published protocol: 256 x 256 pixels, labels thickened to 3 pixels, frames without any prediction "
    "excluded.",
    "strict": "Strict protocol: native pixels with their true spacing, unmodified labels, every labelled frame "
    "included; a frame without prediction has recall and F1 of 0.",
}


def read_segmentation_evaluation(folder: Path, provenance: ProvenanceRecord) -> RunReport | None:
    """The report of an evaluation of segmentations; None if the folder contains none."""
    results = results_of(read_json(folder / EVALUATION))
    if not results:
        return None
    first = next(iter(results.values()))
    frames = f"{quantity(first['frames'], 'frame')} of {numbered('specimen', first['specimens'])}"
    return RunReport(
        title="Evaluation of a bone segmentation",
        lead=f"Distances of predicted bone surfaces to the labels: {frames}; predictions from {first['source']}, "
        f"compared with {_labels(first['labels'])}.",
        figures=_figures(results),
        notes=[*_notes(first), *failures_note(first, "frames")],
        sections=[*(_protocol(name, result) for name, result in results.items()), _examples(folder)],
    )


def results_of(content: Json) -> dict[str, Json]:
    """The results of an ``evaluation.json`` by protocol; none if it is of another kind."""
    if content.get("schema") == EVALUATED:
        return {str(content["protocol"]): content}
    found = {name: content[name] for name in ("paper", "strict") if isinstance(content.get(name), dict)}
    return {name: one for name, one in found.items() if one.get("schema") == EVALUATED}


def _figures(results: dict[str, Json]) -> dict[str, str]:
    figures = {}
    for name, result in results.items():
        of = f", {name} protocol" if len(results) > 1 else ""
        figures[f"F1 within 1 mm{of}"] = number(to_float(result["f1"]["all"][10]))
    name, last = list(results.items())[-1]
    of = f", {name} protocol" if len(results) > 1 else ""
    return {
        **figures,
        f"recall of visible bone within 1 mm{of}": number(to_float(last["recall"]["visible"][10])),
        **{
            f"{measure.title}{of}": number(to_float(last[measure.key]), measure.decimals, measure.unit)
            for measure in _measured(last, scalar_measures())
            if measure.is_headline
        },
    }


def _measured(result: Json, measures: Sequence[Measure]) -> list[Measure]:
    """The measures that a result contains; one of an earlier version may lack some."""
    return [measure for measure in measures if measure.key in result]


def _notes(result: Json) -> Iterator[Note]:
    for overlap in result.get("donor_overlap") or []:
        train, test = (_words(overlap[split]) for split in ("train", "test"))
        yield Note(
            f"Donor {overlap['donor']} is shared between the splits: specimen {train} in training, {test} in test. "
            "Results on it are not results on an unseen person.",
            "warning",
        )
    if result.get("donor_overlap") is None:
        yield Note(sentence(f"{UNKNOWN_TRAINING}; donor overlap is not checked"), "warning")
    if missed := result["frames_without_prediction"]:
        what = f"Nothing was predicted in {quantity(missed, 'frame')}"
        says = "left out by this protocol; the strict one counts them" if _is_paper(result) else "counted as missed"
        yield Note(f"{what}: {says}.", "warning")


def _protocol(name: str, result: Json) -> Section:
    blocks: list[Block] = [Text(_PROTOCOLS.get(name, "")), curves(result), _table(result)]
    if result.get("published"):
        blocks.append(_beside_published(result["published"]))
    blocks.append(_counts(result))
    blocks += [Note(text) for text in notes_of({one.key: to_float(result.get(one.key)) for one in scalar_measures()})]
    if len(result["per_specimen"]) > 1:
        blocks.append(_specimens(result))
    return Section(f"Results, {name} protocol", blocks)


def curves(result: Json) -> Chart:
    """The curves of the paper: precision, recall and F1 over distance, for all, visible and invisible bone."""
    thresholds = result["thresholds_mm"]
    interval = result.get("interval_95")
    published = published_curves() if result.get("published") else {}
    panels = []
    for measure in _measured(result, curve_measures()):
        drawn = []
        for style, region in enumerate(REGIONS):
            ends = interval[measure.key][region] if interval else None
            values = [to_float(value) for value in result[measure.key][region]]
            low, high = ([to_float(v) for v in end] for end in ends) if ends else (None, None)
            drawn.append(Curve(region, thresholds, values, low, high, style, dashed=region == "invisible"))
            if measure.key in published:
                known = published[measure.key][region][::2]
                drawn.append(Curve(f"{region}, published", thresholds[::2], known, style=style, marked=True))
        words = ", ".join(f"{region} bone {_share(result, measure, region, 10)}" for region in REGIONS)
        panels.append(draw(Axes(measure.heading, "distance (mm)", (0, 2), (0, 1)), drawn, f"Within 1 mm: {words}."))
    shade = " Shaded: 95 % bootstrap interval over specimens." if interval else ""
    shade += " Crosses: the published result, by the network epoch_100." if published else ""
    return Chart(
        panels,
        [Key(i, f"{region} bone", region == "invisible") for i, region in enumerate(REGIONS)],
        f"Share of pixels within a distance of the other surface, {result['protocol']} protocol, mean over frames."
        f"{shade}",
        _every_threshold(result),
    )


def _every_threshold(result: Json) -> Table:
    shown = [(measure, region) for region in REGIONS for measure in _measured(result, curve_measures())]
    header = ["within mm", *(f"{measure.title}, {region}" for measure, region in shown)]
    rows = [
        [f"{at:.1f}", *(_share(result, measure, region, k) for measure, region in shown)]
        for k, at in enumerate(result["thresholds_mm"])
    ]
    return Table(header, rows, "All numbers of these curves", folded=True)


def _table(result: Json) -> Table:
    interval, measures = result.get("interval_95"), _measured(result, curve_measures())

    def cell(measure: Measure, region: str, k: int) -> str:
        text = _share(result, measure, region, k)
        if not interval:
            return text
        low, high = (number(to_float(end[k]), measure.decimals) for end in interval[measure.key][region])
        return f"{text} ({low} to {high})"

    rows = [
        [region, f"{result['thresholds_mm'][k]:.1f}", *(cell(measure, region, k) for measure in measures)]
        for region in REGIONS
        for k in LISTED
    ]
    shown = ", with 95 % intervals over specimens" if interval else ""
    caption = f"Mean over frames{shown}; visible bone is brighter than grey value {result['visible_grey']:g}"
    return Table(["bone", "within mm", *(measure.title for measure in measures)], rows, caption)


def _beside_published(differences: Sequence[Json]) -> Table:
    """The differences to the published result, as in the JSON."""
    measures = list(dict.fromkeys(one["measure"] for one in differences))
    titles = {measure.key: measure.title for measure in curve_measures()}
    rows: dict[tuple[str, float], list[str]] = {}
    for one in differences:
        cells = rows.setdefault((one["region"], one["within_mm"]), [one["region"], f"{one['within_mm']:.1f}"])
        cells += [number(to_float(one["published"]), 4), number(to_float(one["difference"]), 4)]
    beyond = sum(not abs(to_float(one["difference"])) <= TOLERANCE for one in differences)
    header = ["bone", "within mm", *(word for key in measures for word in (titles.get(key, key), "difference"))]
    caption = (
        "The published result (network epoch_100 on specimens 2, 7 and 8; Wu et al. 2025) and the differences of this "
        f"one to it: {beyond} of {len(differences)} are larger than {TOLERANCE:g}"
    )
    return Table(header, list(rows.values()), caption)


def _share(result: Json, measure: Measure, region: str, k: int) -> str:
    return number(to_float(result[measure.key][region][k]), measure.decimals)


def _scalar(result: Json, measure: Measure) -> str:
    return number(to_float(result.get(measure.key)), measure.decimals)


def _counts(result: Json) -> Table:
    rows = [
        *([one.title_with_unit, _scalar(result, one)] for one in _measured(result, scalar_measures())),
        ["frames included", number(result["frames"])],
        ["frames excluded", number(result["frames_skipped"])],
        [
            f"frames without prediction, {'excluded' if _is_paper(result) else 'included'}",
            number(result["frames_without_prediction"]),
        ],
    ]
    rate = to_float(result["false_positive_rate"])
    if rate == rate:
        rows.append(["frames without bone in which bone was predicted, %", number(100 * rate, 1)])
    return Table(["measure", "value"], rows, "Other measures; distances are symmetric between the surfaces")


def _is_paper(result: Json) -> bool:
    return result.get("protocol") == "paper"


def _specimens(result: Json) -> Table:
    shares = _measured(result, curve_measures())
    others = [measure for measure in _measured(result, scalar_measures()) if measure.is_headline]
    rows = [
        [
            str(name),
            one["donor"],
            number(one["frames"]),
            *(_share(one, measure, "all", 10) for measure in shares),
            *(_scalar(one, measure) for measure in others),
        ]
        for name, one in result["per_specimen"].items()
    ]
    titles = [measure.title for measure in shares]
    header = ["specimen", "donor", "frames", *titles, *(measure.title_with_unit for measure in others)]
    return Table(header, rows, f"Each specimen separately; {', '.join(titles[:-1])} and {titles[-1]} within 1 mm")


def _examples(folder: Path) -> Section:
    titles_file = folder / "examples" / "examples.json"
    if not titles_file.is_file():
        sheet = embed_image(
            folder / "examples.png",
            "The best, median and worst frames with label and prediction overlaid.",
            _COLOURS,
            wide=True,
        )
        return Section("Best, median and worst frames", [sheet])
    titles = {str(name): str(title).replace("F1 ", "F1\u00a0") for name, title in read_json(titles_file).items()}
    blocks: list[Block] = [Text(f"{_COLOURS} Frames are ranked by their F1 within 0.5 mm.")]
    sections = []
    for rank, group in groupby(sorted(titles), key=lambda name: titles[name].partition(":")[0]):
        shown = [_example(titles_file.parent / name, rank, titles[name].partition(":")[2].strip()) for name in group]
        sections.append(Section(_EXAMPLE_TITLES.get(rank, rank), gallery(shown)))
    return Section("Best, median and worst frames", blocks, sections)


def _example(path: Path, rank: str, title: str) -> ImageBlock | Note:
    alt = f"Ultrasound frame with label and prediction, one of the {rank} frames: {title}."
    return embed_image(path, alt, title, NARROW)


def read_prediction(folder: Path, provenance: ProvenanceRecord) -> RunReport:
    """The report of predicted masks."""
    manifest, result = folder / MASKS, provenance.result
    made = read_json(manifest) if manifest.is_file() else {}
    frames = result.get("frames")
    figures = {
        "masks written": number(frames),
        "without bone": number(result.get("frames_without_bone")),
        "frames per second": number(frames / result["seconds"], 1) if frames and result.get("seconds") else "–",
    }
    if not result:
        figures = {"masks in this folder": number(sum(1 for _ in folder.glob("*_label_pred.png")))}
    sheet = find(folder, result.get("contact_sheet") or folder / "predictions_contact_sheet.jpg")
    alt = "Frames sampled from this run, each with the predicted bone overlaid in orange."
    shown: list[Block] = [embed_image(sheet, alt, "Predicted bone in orange.", wide=True)] if sheet else []
    return RunReport(
        title="Predicted bone surfaces",
        lead=f"A mask for each ultrasound frame, by {made.get('network') or result.get('checkpoint') or 'a network'}.",
        figures=figures,
        notes=failures_note(result, "frames"),
        sections=[
            Section("Contact sheet", shown or [Note("No contact sheet: nothing was predicted, or it was removed.")]),
            Section("Network and masks", [_network(made, result)]),
        ],
    )


def _network(made: Json, result: Json) -> Table:
    folders: list[Any] = result.get("folders") or []
    rows = [
        ["checkpoint", str(made.get("checkpoint") or result.get("checkpoint") or "–")],
        ["its SHA-256", str(made.get("checkpoint_sha256") or "–")],
        ["network", str(made.get("network") or "–")],
        ["probability threshold of bone", f"{made.get('threshold', result.get('threshold', '–'))}"],
        ["precision", str(made.get("precision") or result.get("precision") or "–")],
        ["specimens trained on", _trained_on(made)],
        ["time", duration(result.get("seconds"))],
        ["existing masks kept", number(result.get("frames_skipped"))],
        ["folders of masks", ", ".join(map(str, folders[:8])) + (" …" if len(folders) > 8 else "") or "–"],
    ]
    return Table(["item", "value"], rows, "Network and settings of the masks")


def _trained_on(made: Json) -> str:
    train = made.get("training_specimens")
    if isinstance(train, list):
        return _words(train) or "none, untrained"
    return UNKNOWN_TRAINING.removeprefix("training specimens ")


def _labels(name: str) -> str:
    return f"{name} labels" if name in ("partial", "full") else f"the labels in {name}"


def _words(numbers: Sequence[Any]) -> str:
    return ", ".join(map(str, numbers))

"""The numbers of runs on knee motion, from their summaries: in words, and by name for comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medcli.core.errors import quantity

Summary = Mapping[str, Any]
_SHOWN = {"flexion_deg": "flexion", "internal_rotation_deg": "internal rotation", "anterior_mm": "anterior shift"}


def motion_in_words(found: Summary) -> tuple[str, str]:
    """Detail and headline of a run of ``medcli kinematics veriserum`` or ``medcli evaluate kinematics``."""
    if "overall" in found:
        flexion, anterior = found["overall"]["flexion_deg"]["rms"], found["overall"]["anterior_mm"]["rms"]
        headline = f"RMS flexion {_text(flexion)} degrees, anterior shift {_text(anterior)} mm"
        return f"{quantity(found['frames'], 'frame')} of {quantity(len(found['per_trial']), 'trial')}", headline
    doubtful = f", {found['doubtful']:,} doubtful" if found["doubtful"] else ""
    detail = f"{quantity(found['frames'], 'frame')} of {quantity(len(found['trials']), 'trial')}"
    detail += f", {found['missing']:,} missing{doubtful}"
    low, high = _range(found, "flexion_deg")
    return detail, "" if low is None else f"flexion {low:.0f} to {high:.0f} degrees"


def motion_figures(found: Summary) -> dict[str, Any]:
    """Counts and ranges over all trials of ``medcli kinematics veriserum``."""
    ranges = {
        f"{title}, {which}": value
        for name, title in _SHOWN.items()
        for which, value in zip(("least", "largest"), _range(found, name), strict=True)
    }
    counts = {name: found[name] for name in ("frames", "missing", "doubtful")}
    return {"trials": len(found["trials"]), **counts, **ranges}


def agreement_figures(found: Summary) -> dict[str, Any]:
    """RMS, largest difference and bias of each quantity of ``medcli evaluate kinematics``."""
    words = {"rms": "RMS", "maximum": "largest", "bias": "bias"}
    figures = {f"{name}, {title}": one[key] for name, one in found["overall"].items() for key, title in words.items()}
    return {**figures, "frames": found["frames"]}


def _range(found: Summary, name: str) -> tuple[float | None, float | None]:
    ranges = [trial["ranges"][name] for trial in found["trials"] if trial["ranges"][name][0] is not None]
    if not ranges:
        return None, None
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"

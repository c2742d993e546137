"""What a registration is worth: good, doubtful or failed, and the evidence, by limits that are stated."""

from __future__ import annotations

from dataclasses import dataclass

from medcli.ultrabones.registration.determined_directions import LIMIT_DEG, LIMIT_MM, Determination

WITHIN_MM = 2.0
"""A point is explained when it lies this near to a bone."""
GOOD_SHARE, FAILED_SHARE = 0.5, 0.3
"""Of the thinned cloud explained: at least this for good; less than that has failed."""
CLOSE_MM, CLOSE_SHARE = 1.0, 0.7
"""Of the explained points, at least this share lies this near, for good. Those within 2 mm of another person's leg are
spread over the 2 mm, and 0.56 to 0.65 of them are within 1 mm; at the right leg 0.90 to 0.92, with errors of masks and
tracking 1.5 times as large 0.80, with twice as large ones 0.71."""
GOOD_MEDIAN_MM = 1.0
"""Median distance of the explained points, at most this for good."""
LEAD = 3.0
"""Standard errors by which a pose must lead another hypothesis, or the mirror image, to be told from it."""
GOOD, DOUBTFUL, FAILED = "good", "doubtful", "failed"


@dataclass(frozen=True)
class Evidence:
    """What a verdict rests on.

    Attributes:
        explained: share of the thinned cloud within 2 mm of a bone.
        median_mm: median distance of these.
        lead: over the runner-up, in standard errors; None: there is none, or no search was made.
        mirror_lead: over the best pose of the mirror image; negative where the mirror image fits better; None: not
            looked at.
        determination: of the six directions.
        close: share of the explained points that are within 1 mm.
    """

    explained: float
    median_mm: float
    lead: float | None
    mirror_lead: float | None
    determination: Determination
    close: float


def judge(evidence: Evidence) -> tuple[str, tuple[str, ...]]:
    """The status and the reasons against ``good``, one sentence each."""
    failures, doubts = [], []
    if evidence.lead is not None and evidence.lead < LEAD:
        doubts.append(
            "another pose fits about as well: do not use this transform alone "
            f"(lead {evidence.lead:.1f} standard errors, {LEAD:g} needed)"
        )
    share = f"{100 * evidence.explained:.0f} % of the points are within {WITHIN_MM:g} mm of a bone"
    if evidence.explained < FAILED_SHARE:
        failures.append(f"only {share}; less than {100 * FAILED_SHARE:.0f} % is no match: other bones or other units?")
    elif evidence.explained < GOOD_SHARE:
        doubts.append(f"only {share}, expected {100 * GOOD_SHARE:.0f} % or more")
    if evidence.median_mm > GOOD_MEDIAN_MM:
        doubts.append(
            f"the explained points are {evidence.median_mm:.2f} mm from the bone in the median, "
            f"expected {GOOD_MEDIAN_MM:g} mm or less"
        )
    if evidence.close < CLOSE_SHARE:
        doubts.append(
            f"{100 * evidence.close:.0f} % of the explained points are within {CLOSE_MM:g} mm, expected "
            f"{100 * CLOSE_SHARE:.0f} % or more: another person's bone, or a noisy cloud?"
        )
    mirror = evidence.mirror_lead
    if mirror is not None and mirror <= -LEAD:
        failures.append(
            f"the mirror image of the meshes explains the points better, by {-mirror:.1f} standard errors: "
            "these are the meshes of the other leg, or the cloud is mirrored"
        )
    elif mirror is not None and mirror < LEAD:
        doubts.append(
            f"this leg cannot be told from its mirror image (lead {mirror:.1f} standard errors, {LEAD:g} needed)"
        )
    undetermined = evidence.determination.undetermined
    if undetermined:
        limits = f"standard error above {LIMIT_MM:g} mm or {LIMIT_DEG:g} degree"
        doubts.append(f"not determined by the points ({limits}): {'; '.join(undetermined)}")
    return FAILED if failures else DOUBTFUL if doubts else GOOD, (*failures, *doubts)

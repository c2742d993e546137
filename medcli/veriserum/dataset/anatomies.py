"""Which implants are femoral and which tibial components."""

from __future__ import annotations

from medcli.core.errors import UsageError

KINDS = {"femur": (1, 2), "tibia": (3, 4, 5, 6, 7)}
"""``anatomy_id`` of the published components: two femoral, five tibial."""
KIND_OF = {number: kind for kind, numbers in KINDS.items() for number in numbers}
"""``anatomy_id`` -> ``femur`` or ``tibia``."""


def anatomy_ids(name: str) -> tuple[int, ...]:
    """The ``anatomy_id`` values for ``femur``, ``tibia`` or a number.

    Raises:
        UsageError: it is none of these.
    """
    if name.lower() in KINDS:
        return KINDS[name.lower()]
    if not name.isdecimal():
        raise UsageError(f"--anatomy '{name}' is not femur, tibia or an anatomy_id")
    return (int(name),)

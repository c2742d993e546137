"""Which of the published records are not in a folder: from the names of its records alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from medcli.core.errors import spaced
from medcli.ultrabones.dataset.constants import PUBLISHED_RECORDS
from medcli.ultrabones.dataset.folder_layout import RecordFolder


def missing_records(records: Sequence[RecordFolder], specimens: Iterable[int]) -> Iterator[str]:
    """The published records of ``specimens`` that are not among ``records``, one text for each specimen and anatomy.

    The first release numbers the records of a specimen through; the current one may count those of each anatomy from 1.
    """
    for specimen in specimens:
        mine = [record for record in records if record.specimen == specimen]
        expected = PUBLISHED_RECORDS[specimen]
        if not mine:
            yield f"no specimen {specimen}"
        elif any(record.anatomy for record in mine):
            for anatomy, numbers in expected.items():
                here = {record.record for record in mine if record.anatomy == anatomy}
                from_one = set(range(1, len(numbers) + 1))
                lacking = min((set(one) - here for one in (numbers, from_one)), key=len)
                if lacking:
                    yield f"specimen {specimen}: no {anatomy} record {spaced(sorted(lacking))}"
        elif lacking := {number for numbers in expected.values() for number in numbers} - {one.record for one in mine}:
            yield f"specimen {specimen}: no record {spaced(sorted(lacking))}"

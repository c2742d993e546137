"""Point clouds and matrices from files, good and bad."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medcli.core.errors import DataError
from medcli.ultrabones.reconstruction.cloud_files import CONTENTS
from medcli.ultrabones.registration.cloud_input import is_cut_from_ct, read_cloud, read_matrix

POINTS = np.random.default_rng(0).uniform(0, [200, 30, 20], (300, 3)).round(3)


def ply(kind: str, rows: bytes, count: int = 300, more: str = "") -> bytes:
    lines = ["ply", f"format {kind} 1.0", f"element vertex {count}", *(f"property float {a}" for a in "xyz"), more]
    return ("\n".join(filter(None, lines)) + "\nend_header\n").encode() + rows


def text(points: np.ndarray) -> bytes:
    return "".join(" ".join(f"{value:.3f}" for value in row) + "\n" for row in points).encode()


def with_colour(order: str) -> bytes:
    rows = np.zeros(300, [("xyz", f"{order}f4", 3), ("red", "u1")])
    rows["xyz"] = POINTS
    return rows.tobytes()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.xyz", text(POINTS)),
        ("a.XYZ", b"# made by hand\n" + text(np.column_stack([POINTS, POINTS]))),
        ("a.xyz", text(POINTS).replace(b" ", b", ")),
        ("a.ply", ply("ascii", text(POINTS))),
        ("a.ply", ply("binary_little_endian", with_colour("<"), more="property uchar red")),
        ("a.ply", ply("binary_big_endian", with_colour(">"), more="property uchar red")),
    ],
)
def test_formats_give_the_same_points(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    found = read_cloud(tmp_path / name)
    assert np.allclose(found.points, POINTS, atol=1e-4)
    assert found.not_finite == 0


def test_clouds_of_labels_are_known_by_the_notes_of_reconstruct(tmp_path: Path) -> None:
    def note(name: str, mask: str) -> Path:
        (tmp_path / f"{name}.json").write_text(
            json.dumps({"made_from": "", "reconstruction": {"mask": mask, "files": [f"{name}.ply", f"{name}.xyz"]}})
        )
        return tmp_path / f"{name}.xyz"

    assert is_cut_from_ct(note("a_Labels_optimized_1.5mm", "Labels"))
    assert is_cut_from_ct(note("b", "Labels_full").with_suffix(".ply"))
    assert not is_cut_from_ct(note("c", "Labels_pred"))
    assert not is_cut_from_ct(tmp_path / "none.ply")
    note("other", "Labels").with_suffix(".json").rename(tmp_path / "mine.json")
    assert not is_cut_from_ct(tmp_path / "mine.xyz")  # beside another cloud's note
    (tmp_path / "d.json").write_text('{"reconstruction": [1]}')
    assert not is_cut_from_ct(tmp_path / "d.ply")
    name = "specimen02/3D_reconstructions/fibula/record01/reconstruction_pcd"
    contents = {f"{name}.xyz": {"mask": "Labels"}, f"{name}_filtered.xyz": {"mask": "Labels_pred"}}
    (tmp_path / CONTENTS).write_text(json.dumps(contents))
    assert is_cut_from_ct(tmp_path / f"{name}.xyz")
    assert not is_cut_from_ct(tmp_path / f"{name}_filtered.xyz")


def test_points_that_are_not_finite_are_left_out_and_counted(tmp_path: Path) -> None:
    lines = text(POINTS).splitlines(keepends=True)
    lines[3], lines[8], lines[9] = b"nan nan nan\n", b"inf 0 0\n", b"1.0 word 2.0\n"
    (tmp_path / "a.xyz").write_bytes(b"".join(lines))
    found = read_cloud(tmp_path / "a.xyz")
    assert (len(found.points), found.not_finite) == (297, 3)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.ply", b"", "empty"),
        ("a.ply", b"solid nothing", "starts with ply"),
        ("a.ply", ply("binary_little_endian", b"\0" * 40), "3 of 300 vertices"),
        ("a.ply", ply("ascii", text(POINTS[:5])), "5 of 300 vertices"),
        ("a.ply", ply("sideways", b""), "damaged"),
        ("a.ply", b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n", "no y, z"),
        ("a.xyz", b"\x00\xff\xfe" * 50, "."),
        ("a.xyz", b"1 2\n3 4\n", "three numbers"),
        ("a.xyz", text(POINTS / 1000), "metres"),
        ("a.xyz", text(POINTS / [10, 100, 100]), "is 19.* mm long as it stands: centimetres"),
        ("a.xyz", b"nan nan nan\n" * 300, "300 points without finite numbers are left out"),
        ("a.stl", b"solid", "not a point cloud"),
    ],
)
def test_bad_clouds_are_refused_in_words(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        read_cloud(tmp_path / name)
    assert name in caught.value.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: 2 * m, "not a rigid"),
        (lambda m: m * [[-1], [1], [1], [1]], "not a rigid"),
        (lambda m: m[:3], "12 numbers"),
    ],
)
def test_a_matrix_must_be_rigid(tmp_path: Path, change: Callable[[np.ndarray], np.ndarray], words: str) -> None:
    path = tmp_path / "init.txt"
    np.savetxt(path, np.eye(4))
    assert np.array_equal(read_matrix(path), np.eye(4))
    np.savetxt(path, change(np.eye(4)))
    with pytest.raises(DataError, match=words):
        read_matrix(path)

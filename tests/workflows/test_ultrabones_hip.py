"""UltraBonesHip: downloaded from a Hub on loopback, labelled and reconstructed.

The layout is that which the authors' code reads; the archive itself was not at hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from medcli.core.image_io import read_grey
from medcli.ultrabones.segmentation.prediction_inputs import find_sources
from tests.conftest import Ran
from tests.support.download_fixtures import files_in
from tests.support.hip_data import HIP_RECORD
from tests.support.servers import FakeHub

WORDS = ("download", "ultrabones-hip", "--json", "--dest")


def test_what_is_downloaded_is_labelled_and_rebuilt(
    hip_hub: FakeHub, hip_data: Path, medcli: Callable[..., Ran], tmp_path: Path
) -> None:
    root = tmp_path / "data"
    ran = medcli(*WORDS, root, "--accept-license", "--specimens", "2")
    assert ran.code == 0, ran.err
    assert files_in(root) == files_in(hip_data / "hip")
    ran = medcli("label", "ultrabones", "--root", root, "--kind", "full", "--json")
    assert ran.code == 0, ran.err
    (record,) = json.loads(ran.out)["records"]
    assert (record["probe"], set(record["bones"])) == ("ultrabones-hip", {"left_femur", "right_femur", "pelvis"})
    for path in (hip_data / "true").glob("*.png"):
        label = read_grey(root / HIP_RECORD / "Labels_full" / path.name)
        assert (label[:545] != read_grey(path)).mean() < 1e-4
    ran = medcli("reconstruct", "ultrabones", "--root", root, "--mask", "Labels_full", "--out", tmp_path / "out")
    assert ran.code == 0, ran.err
    note = json.loads((tmp_path / "out/medcli-run.json").read_text())["data"]
    assert (note["dataset"], note["licence"][:12]) == ("UltraBonesHip", "CC BY-NC 4.0")
    assert [source.folder.name for source in find_sources([root / HIP_RECORD])] == ["Labels_pred", "Labels_pred"]


def test_its_licence_is_accepted_once(hip_hub: FakeHub, medcli: Callable[..., Ran], tmp_path: Path) -> None:
    refused = medcli(*WORDS, tmp_path / "data")
    assert refused.code == 2
    assert "UltraBonesHip's licence is not accepted yet: CC BY-NC 4.0" in refused.err
    assert not hip_hub.count()
    plan = medcli(*WORDS, tmp_path / "data", "--dry-run")
    assert plan.code == 0, plan.err
    assert json.loads(plan.out)["licence"].startswith("CC BY-NC 4.0")
    assert medcli(*WORDS, tmp_path / "data", "--accept-license", "--only", "tracking").code == 0
    assert medcli(*WORDS, tmp_path / "data", "--only", "meshes").code == 0  # recorded the first time
    names = {path.rpartition("/")[2] for path in files_in(tmp_path / "data") if "specimen" in path}
    assert names == {"poses.csv", "left_femur.stl", "right_femur.stl", "pelvis.stl"}
    absent = medcli(*WORDS, tmp_path / "data", "--specimens", "9")
    assert absent.code == 2
    assert "there are 0 2" in absent.err

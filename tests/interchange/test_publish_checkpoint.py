"""``medcli publish checkpoint``: what is sent, to a Hub on this machine; and that nothing is without being asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from medcli.core.json_text import read_object, to_json
from medcli.training.weights import HEADER_KEY
from medcli.ultrabones.segmentation.checkpoint_metadata import Metadata
from medcli.veriserum.pose.checkpoint_metadata import PoseMetadata
from tests.conftest import Ran
from tests.support.report_folders import evaluation, provenance, write
from tests.support.servers import Trouble, UploadHub

REPOSITORY = "someone/bone-1"
TOKEN = "hf_" + "w" * 20


@pytest.fixture
def upload_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[UploadHub]:
    hub = UploadHub(REPOSITORY)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub._commit_api.is_xet_available", lambda: False, raising=False)
    yield hub
    hub.stop()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "best.safetensors"
    return save(path, Metadata(splits={"train": [1, 3], "val": [5]}))


def save(path: Path, metadata: Metadata | PoseMetadata) -> Path:
    """A checkpoint that says what it is, with weights of no network, and without loading torch."""
    save_file({"weight": np.zeros(2, np.float32)}, path, {HEADER_KEY: to_json(metadata)})
    return path


def evaluated(folder: Path, train: list[int]) -> Path:
    source = str(folder.parent / "best.safetensors")
    both = {name: {**evaluation(name, source), "train_specimens": train} for name in ("paper", "strict")}
    return write(folder / "evaluation.json", both).parent


def test_the_card_is_shown_and_nothing_is_sent(
    checkpoint: Path, upload_hub: UploadHub, medcli: Callable[..., Ran], tmp_path: Path
) -> None:
    words = ("publish", "checkpoint", checkpoint, "--repository", REPOSITORY)
    ran = medcli(*words, "--evaluation", evaluated(tmp_path, [1, 3]))
    assert ran.code == 0, ran.err
    for said in (
        "nothing was sent",
        "license: cc-by-4.0",
        "Trained on specimens 1 3.",
        "not a medical device",
        "Paper protocol, 8 frames of specimens 2 7; the other leg of donor S9 was trained on.",
        "| f1 within 0.5, 1, 2 mm | 0.250, 0.500, 1.000 |",
        "CC BY 4.0 (UltraBones100k)",
    ):
        assert said in ran.out
    assert upload_hub.requests == []
    from huggingface_hub import ModelCard

    card = ModelCard(json.loads(medcli(*words, "--json").out)["card"])  # as the Hub's own library reads it
    assert (card.data.license, card.data.library_name) == ("cc-by-4.0", "medcli")
    assert card.data.datasets == ["luohwu/UltraBones100k"]


def test_all_files_are_sent_in_one_commit(
    checkpoint: Path, upload_hub: UploadHub, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = ("publish", "checkpoint", checkpoint, "--repository", REPOSITORY, "--push")
    (tmp_path / "hf").mkdir(exist_ok=True)
    (tmp_path / "hf/token").write_text(TOKEN)  # a login, which is not used
    ran = medcli(*words)
    assert (ran.code, "HF_TOKEN is not set" in ran.err) == (2, True)
    assert upload_hub.requests == []
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    ran = medcli(*words, "--evaluation", evaluated(tmp_path / "e", [1, 3]))
    assert ran.code == 0, ran.err
    assert upload_hub.COMMIT in ran.out
    assert TOKEN not in ran.out + ran.err
    assert set(upload_hub.content) == {"README.md", "model.safetensors", "evaluation.json"}
    assert upload_hub.content["model.safetensors"] == checkpoint.read_bytes()
    assert b"Trained on specimens 1 3." in upload_hub.content["README.md"]
    assert upload_hub.count("/commit/main") == 1
    assert all("authorization" not in one.headers for one in upload_hub.requests if one.method == "PUT")  # the store
    ran = medcli(*words)
    assert (ran.code, "has a model.safetensors already" in ran.err) == (2, True)
    assert medcli(*words, "--overwrite").code == 0
    monkeypatch.setenv("HF_TOKEN", "hf_" + "r" * 20)
    ran = medcli(*words, "--overwrite")
    assert (ran.code, "HF_TOKEN may not write there" in ran.err) == (1, True)


def test_a_hub_that_breaks_leaves_what_was_there(
    checkpoint: Path, upload_hub: UploadHub, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    upload_hub.trouble(f"/api/models/{REPOSITORY}/commit/main", Trouble(status=500))
    ran = medcli("publish", "checkpoint", checkpoint, "--repository", REPOSITORY, "--yes")
    assert (ran.code, "status 500" in ran.err) == (1, True)
    assert "Traceback" not in ran.err
    assert upload_hub.content == {}


def test_what_cannot_be_published(checkpoint: Path, medcli: Callable[..., Ran], tmp_path: Path) -> None:
    words = ("publish", "checkpoint", checkpoint, "--repository")
    ran = medcli(*words, "Kniegelenk links")
    assert (ran.code, "expected owner/name" in ran.err) == (2, True)
    ran = medcli(*words, REPOSITORY, "--evaluation", evaluated(tmp_path / "other", [4, 5]))
    assert ran.code == 3
    assert "is of a network that was trained on specimens 4 5, " in ran.err
    untrained = medcli(*words, REPOSITORY, "--evaluation", evaluated(tmp_path / "untrained", []))
    assert (untrained.code, "is of a network that was not trained, " in untrained.err) == (3, True)
    ran = medcli(*words, REPOSITORY, "--evaluation", write(tmp_path / "x/evaluation.json", {"a": 1}).parent)
    assert (ran.code, "is no evaluation of a segmentation network" in ran.err) == (3, True)
    (tmp_path / "a.pth").write_bytes(b"x")
    ran = medcli("publish", "checkpoint", tmp_path / "a.pth", "--repository", REPOSITORY)
    assert (ran.code, f"medcli checkpoint convert {tmp_path / 'a.pth'}" in ran.err) == (3, True)
    assert read_object(tmp_path / "x/evaluation.json") == {"a": 1}


def test_figures_of_another_checkpoint_are_refused(
    checkpoint: Path, medcli: Callable[..., Ran], tmp_path: Path
) -> None:
    metrics = {"val_loss": 0.25, "train_loss": 0.5, "lr": 1e-5, "seconds": 60.0, "frames_per_second": 3.0}
    content = Metadata(splits={"train": [1, 3], "val": []}, metrics=metrics, settings={"augment": [], "seed": 3})
    mine = save(tmp_path / "best.safetensors", content)
    words = ("publish", "checkpoint", mine, "--repository", REPOSITORY, "--evaluation", tmp_path / "e")
    for source in ("Labels_pred", "poses.csv", ""):
        write(tmp_path / "e/evaluation.json", {**evaluation("strict", source), "train_specimens": [1, 3]})
        ran = medcli(*words)
        assert (ran.code, f"not of the network {mine}" in ran.err) == (3, True), source
    missing = "which is not there"
    for source, code, said in (
        (checkpoint, 3, "which is another checkpoint"),
        ("gone/last.safetensors", 3, missing),
        (r"D:\gone\best.safetensors", 0, missing),
        ("gone/best.safetensors", 0, missing),
        (mine, 0, ""),
    ):
        content = {**evaluation("strict", str(source)), "train_specimens": [1, 3]}
        write(tmp_path / "e/evaluation.json", content)
        ran = medcli(*words)
        assert ran.code == code, source
        assert said in " ".join((ran.out + ran.err).split()), source
        assert (missing in ran.out + ran.err) == (said == missing), source
    assert "| validation loss | 0.25 |" in ran.out
    assert not any(word in ran.out for word in ("train_loss", "| lr |", "validation lr", "seconds", "per_second", "[]"))
    provenance(tmp_path, "train seg", synthetic=True)
    ran = medcli(*words[:-2])
    assert "none: synthetic data made by medcli" in ran.out
    assert "license:" not in ran.out


def test_a_pose_network_says_its_data_are_not_for_commerce(
    medcli: Callable[..., Ran], upload_hub: UploadHub, tmp_path: Path
) -> None:
    metadata = PoseMetadata("resnet18", 64, (1,), (0.0,) * 6, splits={"train": "1-10", "val": "11-12"})
    path = save(tmp_path / "best.safetensors", metadata)
    errors = {"in_plane_bs_mm": {"median": 5.45}}
    content = {"pairs": 70, "errors": errors, "schema": "medcli.evaluate.pose.v1", "source": str(path)}
    found = write(tmp_path / "e/evaluation.json", content)
    words = ("publish", "checkpoint", path, "--repository", REPOSITORY, "--evaluation", found.parent)
    of_table = write(tmp_path / "t/evaluation.json", {**content, "source": "exact.csv"})
    refused = medcli(*words[:-1], of_table.parent)
    assert (refused.code, "is of exact.csv, not of the network" in refused.err) == (3, True)
    assert "medcli evaluate pose --checkpoint" in refused.err
    ran = medcli(*words)
    assert ran.code == 0, ran.err
    for said in (
        "license: other",
        "An implant pose network",
        "InC-NC",
        "pairs 1-10 of Veriserum",
        "| in_plane_bs_mm | median 5.45 |",
        "non-commercial",
    ):
        assert said in ran.out

"""Helpers shared by both trainings of the demonstration."""

from __future__ import annotations

from pathlib import Path

import torch

from medcli.demo.training import first_and_last, one_thread


def test_one_thread_in_the_block_only() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_first_and_last_epoch(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,train_loss\n1,0.75\n2,0.6\n3,0.25\n", "utf-8")
    words = first_and_last(tmp_path / "metrics.csv", "train_loss")
    assert words == "0.25 in the last epoch; 0.75 in the first"

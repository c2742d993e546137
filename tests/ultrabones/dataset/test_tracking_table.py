"""Tracking tables of every release."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medcli.core.errors import DataError
from medcli.ultrabones.dataset.tracking_table import read_tracking


def test_tracking_tables_old_and_new(tmp_path: Path) -> None:
    optimized = ",".join(f"{name}_optimized" for name in ("x", "y", "z", "euler_x", "euler_y", "euler_z"))
    text = f"\ufeff timestamp,space_factor,x, y,z,euler_x,euler_y,euler_z,{optimized}\n"
    text += "100,0.05392,1,2,3,4,5,6,7,8,9,10,11,12\n\n150.0,0.05392,1,2,oops,4,5,6,7,8,9,10,11,12\n"
    (tmp_path / "sweepProcessedAndOptimized.csv").write_text(text, encoding="utf-8")
    table = read_tracking(tmp_path)
    assert list(table.timestamp) == [100, 150]
    assert table.z_optimized[1] == 9
    assert np.isnan(table.z[1])
    (tmp_path / "tracking.csv").write_text("timestamp,x,y,z,euler_x,euler_y,euler_z\n1,1,2,3,4,5,6\n")
    table = read_tracking(tmp_path)
    assert "x_optimized" not in table
    assert table.space_factor[0] == 0.05392
    (tmp_path / "tracking.csv").write_text("timestamp,x\n1,2\n")
    with pytest.raises(DataError, match="has no column y, z, euler_x"):
        read_tracking(tmp_path)
    with pytest.raises(DataError, match="no tracking table"):
        read_tracking(tmp_path / "nowhere")

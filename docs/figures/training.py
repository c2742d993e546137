"""Make the augmentation figure of the documentation: ``python docs/figures/training.py``.

``docs/images/augmentation.jpg``: one synthetic frame as training may see it, with its thickened label.
(``docs/images/training_curves.png`` is the ``curves.png`` that ``medcli train seg`` leaves, see the command beside it.)
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))

from medcli.core.image_io import write_image
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.dataset.frame_index import index_frames
from medcli.ultrabones.segmentation.augmentation.filters import thicken_batch
from medcli.ultrabones.segmentation.augmentation.plan import OPERATIONS, draw_plan
from medcli.ultrabones.segmentation.augmentation.trivial import augment
from medcli.ultrabones.segmentation.frame_cache import FrameCache

IMAGES = Path(__file__).parents[1] / "images"
ROWS, COLUMNS = 3, 5
BONE = (0, 220, 90)


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        data = make_ultrabones(Path(folder), (2,), settings=SweepSettings(frames=5))
        frames = FrameCache.without_files(index_frames(data).iloc[[2]])
        images, labels = (torch.from_numpy(part[[0] * (ROWS * COLUMNS)]) for part in (frames.images, frames.labels))
    plan = draw_plan(len(images), np.random.default_rng(5))
    plan.operations[0] = 0  # the first shows the frame as it is
    images, bones = augment(images, labels, plan)
    grey = (images[:, 0].numpy() * 255).astype(np.uint8)
    tiles = [
        _tile(image, bone, [] if i == 0 else [OPERATIONS[code] for code in plan.operations[i]])
        for i, (image, bone) in enumerate(zip(grey, thicken_batch(bones, 3)[:, 0].numpy(), strict=True))
    ]
    rows = [np.hstack(tiles[row * COLUMNS : (row + 1) * COLUMNS]) for row in range(ROWS)]
    write_image(IMAGES / "augmentation.jpg", np.vstack(rows), quality=60)


def _tile(image: NDArray[np.uint8], bone: NDArray[np.bool_], names: list[str]) -> NDArray[np.uint8]:
    coloured = np.repeat(image[:, :, None], 3, axis=2)
    inner = cv2.erode(bone.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    coloured[bone & ~inner] = BONE
    shown = [name for name in names if name not in ("identity", "saturation")] if names else ["the frame itself"]
    for line, name in enumerate(shown):
        for offset, colour in ((1, (0, 0, 0)), (0, (255, 220, 120))):
            place = (6 + offset, 16 + 15 * line + offset)
            cv2.putText(coloured, name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)
    return cv2.copyMakeBorder(coloured, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=(60, 60, 60))


if __name__ == "__main__":
    main()

"""The augmentation of a whole batch as eleven Triton kernels, whatever was drawn, and the thickening of its labels.

Imported only where Triton is: with PyTorch for CUDA on Linux. Each kernel runs over all frames, and each frame takes
the branch of its own operation, so that shapes and launches are the same for every batch and a CUDA graph can record
them. All sums are made in one order: the same batch and plan give the same bytes.
"""

# Triton reads these functions' source: no annotations in strings here, and comparisons of numbers rather than enums.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, misc"

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from medcli.ultrabones.segmentation.augmentation.table import CROPS, FIELDS, MAP, SLOTS

_TILE = 1024
_STRIPE = 4096


def augment_by_kernels(images: Tensor, labels: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`medcli.ultrabones.segmentation.augmentation.trivial.augment` on a GPU.

    Args:
        images, labels: (B, H, W) uint8, contiguous; in labels 255 is bone.
        table: (B, FIELDS) float32 on the same device, see :mod:`.table`.

    Returns:
        Images (B, 1, H, W) float32 in [0, 1] and labels (B, 1, H, W) bool.
    """
    frames, height, width = images.shape
    shape: dict[str, Any] = {"HEIGHT": height, "WIDTH": width, "FIELDS": FIELDS}
    moves: dict[str, Any] = {"MAP": MAP, "CROPS": CROPS}
    tiles = (frames, triton.cdiv(height * width, _TILE))
    source, target = (torch.empty((frames, 1, height, width), device=images.device) for _ in range(2))
    bones = torch.empty((frames, 1, height, width), dtype=torch.bool, device=images.device)
    means = torch.empty(frames, device=images.device)
    curves = torch.empty((frames, 256), device=images.device)
    with torch.cuda.device_of(images):
        _open[tiles](images, labels, source, bones, table, **shape, **moves, TILE=_TILE)
        for slot in range(SLOTS):
            _survey[(frames,)](source, means, curves, table, slot, **shape, STRIPE=_STRIPE, num_warps=16)
            _change[tiles](source, target, means, curves, table, slot, **shape, **moves, SLOTS=SLOTS, TILE=_TILE)
            source, target = target, source
    return source, bones


def thicken_by_kernel(labels: Tensor, radius_px: int) -> Tensor:
    """:func:`medcli.ultrabones.segmentation.augmentation.filters.thicken_batch` on a GPU; (B, 1, H, W) bool."""
    labels = labels.contiguous()
    frames, _, height, width = labels.shape
    thick = torch.empty_like(labels)
    tiles = (frames, triton.cdiv(height * width, _TILE))
    with torch.cuda.device_of(labels):
        _thicken[tiles](labels, thick, HEIGHT=height, WIDTH=width, RADIUS=radius_px, TILE=_TILE)
    return thick


@triton.jit
def _place(row, column, entries, HEIGHT: tl.constexpr, WIDTH: tl.constexpr):
    """Where the map at ``entries`` takes the pixels: x and y from the centre of the image."""
    x = column.to(tl.float32) - (WIDTH - 1) * 0.5
    y = row.to(tl.float32) - (HEIGHT - 1) * 0.5
    a, b, c = tl.load(entries), tl.load(entries + 1), tl.load(entries + 2)
    d, e, f = tl.load(entries + 3), tl.load(entries + 4), tl.load(entries + 5)
    return a * x + (b * y + c), d * x + (e * y + f)


@triton.jit
def _kept(row, column, entries, MAP: tl.constexpr, CROPS: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr):
    """Whether no crop takes the pixels out of the image."""
    kept = row < HEIGHT
    for crop in tl.static_range(CROPS):
        x, y = _place(row, column, entries + MAP + 6 * (crop + 1), HEIGHT, WIDTH)
        kept = kept & (tl.abs(x) < WIDTH * 0.5) & (tl.abs(y) < HEIGHT * 0.5)
    return kept


@triton.jit
def _open(
    images,
    labels,
    target,
    bones,
    table,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    FIELDS: tl.constexpr,
    MAP: tl.constexpr,
    CROPS: tl.constexpr,
    TILE: tl.constexpr,
):
    """Bytes to [0, 1], and labels moved to where the geometric operations take them."""
    frame = tl.program_id(0).to(tl.int64)
    place = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = place < HEIGHT * WIDTH
    row, column = place // WIDTH, place % WIDTH
    start = frame * HEIGHT * WIDTH
    grey = tl.load(images + start + place, mask=inside, other=0)
    tl.store(target + start + place, grey.to(tl.float32) / 255.0, mask=inside)
    entries = table + frame * FIELDS
    if tl.load(entries + MAP - 1) > 0:
        x, y = _place(row, column, entries + MAP, HEIGHT, WIDTH)
        x, y = x + (WIDTH - 1) * 0.5, y + (HEIGHT - 1) * 0.5
        near_x, near_y = tl.floor(x + 0.5), tl.floor(y + 0.5)
        # A half goes to the even pixel, as in torch.
        near_x = tl.where((near_x - x == 0.5) & (tl.floor(near_x * 0.5) * 2 != near_x), near_x - 1, near_x)
        near_y = tl.where((near_y - y == 0.5) & (tl.floor(near_y * 0.5) * 2 != near_y), near_y - 1, near_y)
        there = inside & (near_x >= 0) & (near_x < WIDTH) & (near_y >= 0) & (near_y < HEIGHT)
        there = there & _kept(row, column, entries, MAP, CROPS, HEIGHT, WIDTH)
        nearest = near_y.to(tl.int32) * WIDTH + near_x.to(tl.int32)
        bone = tl.load(labels + start + nearest, mask=there, other=0) == 255
        tl.store(bones + start + place, bone, mask=inside)
    else:
        bone = tl.load(labels + start + place, mask=inside, other=0) == 255
        tl.store(bones + start + place, bone, mask=inside)


@triton.jit(do_not_specialize=["slot"])
def _survey(
    source,
    means,
    curves,
    table,
    slot,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    FIELDS: tl.constexpr,
    STRIPE: tl.constexpr,
):
    """What contrast and equalising need to know of the whole frame: its mean, or its curve from grey to grey."""
    frame = tl.program_id(0).to(tl.int64)
    operation = tl.load(table + frame * FIELDS + slot)
    image = source + frame * HEIGHT * WIDTH
    pixels: tl.constexpr = HEIGHT * WIDTH
    if operation == 3:
        total = tl.zeros((STRIPE,), tl.float32)
        for first in range(0, pixels, STRIPE):
            place = first + tl.arange(0, STRIPE)
            total += tl.load(image + place, mask=place < pixels, other=0.0)
        tl.store(means + frame, tl.sum(total, axis=0) / pixels)
    if operation == 5:
        grey = tl.arange(0, 256)
        counts = tl.zeros((256,), tl.int32)
        for first in range(0, pixels, STRIPE):
            place = first + tl.arange(0, STRIPE)
            level = (tl.load(image + place, mask=place < pixels, other=0.0) * (256 - 1e-3)).to(tl.int32)
            counts += tl.histogram(level, 256, mask=place < pixels)
        highest = tl.max(tl.where(counts > 0, grey, 0), axis=0)
        step = (pixels - tl.sum(tl.where(grey == highest, counts, 0), axis=0)) // 255
        below = tl.cumsum(counts, axis=0) - counts
        curve = tl.minimum((below + step // 2) // tl.maximum(step, 1), 255)
        curve = tl.where(step == 0, grey, curve)
        tl.store(curves + frame * 256 + grey, curve.to(tl.float32) / 255.0)


@triton.jit
def _across(image, row, column, inside, share, WIDTH: tl.constexpr):
    """The blur along the row, mirrored at the edge."""
    left = tl.where(column == 0, 1, column - 1)
    right = tl.where(column == WIDTH - 1, WIDTH - 2, column + 1)
    value = tl.load(image + row * WIDTH + column, mask=inside, other=0.0)
    beside = tl.load(image + row * WIDTH + left, mask=inside, other=0.0)
    beside = (beside + tl.load(image + row * WIDTH + right, mask=inside, other=0.0)) * 0.5
    return value + share * (beside - value)


@triton.jit
def _corner(image, row, column, weight, inside, HEIGHT: tl.constexpr, WIDTH: tl.constexpr):
    there = inside & (row >= 0) & (row < HEIGHT) & (column >= 0) & (column < WIDTH)
    return tl.load(image + row * WIDTH + column, mask=there, other=0.0) * weight


@triton.jit(do_not_specialize=["slot"])
def _change(
    source,
    target,
    means,
    curves,
    table,
    slot,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    FIELDS: tl.constexpr,
    SLOTS: tl.constexpr,
    MAP: tl.constexpr,
    CROPS: tl.constexpr,
    TILE: tl.constexpr,
):
    """The operation of each frame at ``slot``; a frame without one is copied."""
    frame = tl.program_id(0).to(tl.int64)
    place = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = place < HEIGHT * WIDTH
    row, column = place // WIDTH, place % WIDTH
    image = source + frame * HEIGHT * WIDTH
    entries = table + frame * FIELDS
    operation = tl.load(entries + slot)
    strength = tl.load(entries + SLOTS + slot)
    value = tl.load(image + place, mask=inside, other=0.0)
    if operation == 1:  # the geometric operations
        x, y = _place(row, column, entries + MAP, HEIGHT, WIDTH)
        x, y = x + (WIDTH - 1) * 0.5, y + (HEIGHT - 1) * 0.5
        left, top = tl.floor(x), tl.floor(y)
        across, down = x - left, y - top
        left, top = left.to(tl.int32), top.to(tl.int32)
        kept = inside & _kept(row, column, entries, MAP, CROPS, HEIGHT, WIDTH)
        value = _corner(image, top, left, (1 - across) * (1 - down), kept, HEIGHT, WIDTH)
        value += _corner(image, top, left + 1, across * (1 - down), kept, HEIGHT, WIDTH)
        value += _corner(image, top + 1, left, (1 - across) * down, kept, HEIGHT, WIDTH)
        value += _corner(image, top + 1, left + 1, across * down, kept, HEIGHT, WIDTH)
    if operation == 2:  # brightness
        value = tl.minimum(tl.maximum(value * strength, 0.0), 1.0)
    if operation == 3:  # contrast
        mean = tl.load(means + frame)
        value = tl.minimum(tl.maximum(value - (value - mean) * (1 - strength), 0.0), 1.0)
    if operation == 4:  # blur
        above = tl.where(row == 0, 1, row - 1)
        below = tl.where(row == HEIGHT - 1, HEIGHT - 2, row + 1)
        middle = _across(image, row, column, inside, strength, WIDTH)
        beside = _across(image, above, column, inside, strength, WIDTH)
        beside = (beside + _across(image, below, column, inside, strength, WIDTH)) * 0.5
        value = middle + strength * (beside - middle)
    if operation == 5:  # equalising
        value = tl.load(curves + frame * 256 + (value * (256 - 1e-3)).to(tl.int32))
    if operation == 6:  # the median of 7 x 7 pixels: the largest level with fewer than 25 pixels below it, bit by bit
        median = tl.zeros((TILE,), tl.int32)
        for bit in range(8):
            candidate = median + (128 >> bit)
            fewer = tl.zeros((TILE,), tl.int32)
            for step_y in range(7):
                near_y = tl.minimum(tl.maximum(row + (step_y - 3), 0), HEIGHT - 1)
                for step_x in tl.static_range(7):
                    near_x = tl.minimum(tl.maximum(column + (step_x - 3), 0), WIDTH - 1)
                    grey = tl.load(image + near_y * WIDTH + near_x, mask=inside, other=0.0)
                    level = (grey * 255 + 0.5).to(tl.int32)
                    fewer += (level < candidate).to(tl.int32)
            median = tl.where(fewer < 25, candidate, median)
        value = median.to(tl.float32) / 255.0
    tl.store(target + frame * HEIGHT * WIDTH + place, value, mask=inside)


@triton.jit
def _thicken(labels, thick, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, RADIUS: tl.constexpr, TILE: tl.constexpr):
    """Whether a label pixel lies within the radius of each pixel."""
    frame = tl.program_id(0).to(tl.int64)
    place = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = place < HEIGHT * WIDTH
    row, column = place // WIDTH, place % WIDTH
    start = frame * HEIGHT * WIDTH
    found = tl.zeros((TILE,), tl.int32)
    for down in range(-RADIUS, RADIUS + 1):
        for across in tl.static_range(-RADIUS, RADIUS + 1):
            near_y, near_x = row + down, column + across
            there = inside & (near_y >= 0) & (near_y < HEIGHT) & (near_x >= 0) & (near_x < WIDTH)
            there = there & (down * down + across * across <= RADIUS * RADIUS)
            found |= tl.load(labels + start + near_y * WIDTH + near_x, mask=there, other=0).to(tl.int32)
    tl.store(thick + start + place, found != 0, mask=inside)

"""Undistort images on the fly, for all commands, keeping the maps in use in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medcli.veriserum.calibration.distortion_model import DistortionModel
from medcli.veriserum.calibration.undistortion_map import Map, load_or_build
from medcli.veriserum.dataset.detector import NATIVE_HEIGHT, NATIVE_WIDTH


class Undistorter:
    """Undistorts images to one size with one resampling; thread-safe.

    Args:
        size: pixels along each side of the results.
        resampling: ``reference`` or ``area``, see :mod:`medcli.veriserum.calibration.undistortion_map`.
        most_maps: number of maps kept in memory; others are in the cache folder. The published calibrations
            take 20.
    """

    def __init__(self, size: int, resampling: str = "reference", most_maps: int = 40) -> None:
        self.size, self.resampling, self.most_maps = size, resampling, most_maps
        self._kept: OrderedDict[str, Map] = OrderedDict()
        self._lock = threading.Lock()
        self._building: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def pair(
        self, images: Mapping[str, NDArray[np.uint8]], models: Mapping[str, DistortionModel]
    ) -> dict[str, NDArray[np.uint8]]:
        """Undistort a pair as published: each plane is divided by its maximum if no plane is black.

        Args:
            images: plane -> grey image (H, W) of any size, also of planes that only determine the scaling.
            models: plane -> calibration, of the planes to undistort.

        Returns:
            plane -> (size, size) for planes that are in both.
        """
        if self.resampling == "reference":
            images = {plane: to_native_size(image) for plane, image in images.items()}
        peaks = {plane: float(image.max()) for plane, image in images.items()}
        scale = all(peak > 0 for peak in peaks.values())
        return {
            plane: self.map_of(model).apply(images[plane], peaks[plane] if scale else 0.0)
            for plane, model in models.items()
            if plane in images
        }

    def map_of(self, model: DistortionModel) -> Map:
        """The map of a calibration: from memory, from the cache folder, or built now."""
        key = model.fingerprint
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            building = self._building[key]
        with building:  # other threads wait for this map
            with self._lock:
                if key in self._kept:
                    return self._kept[key]
            loaded = load_or_build(model, self.size, self.resampling)
            with self._lock:
                self._kept[key] = loaded
                while len(self._kept) > self.most_maps:
                    self._kept.popitem(last=False)
            return loaded


def to_native_size(image: NDArray[np.uint8]) -> NDArray[Any]:
    """An image of any size as the published procedure expects it: float32 / 255, bilinear to 1664 x 1600.

    Args:
        image: (H, W) uint8.

    Returns:
        (1600, 1664): ``image`` itself if it has that size, otherwise float32 in 0 to 1.
    """
    if image.shape == (NATIVE_HEIGHT, NATIVE_WIDTH):
        return image
    return cv2.resize(image.astype(np.float32) / 255, (NATIVE_WIDTH, NATIVE_HEIGHT))

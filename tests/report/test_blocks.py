"""Blocks, curves and clouds by themselves, and the page that shows them."""

from __future__ import annotations

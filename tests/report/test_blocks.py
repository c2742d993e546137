"""Blocks, curves and clouds by themselves, and the page that shows them."""

from __future__ import annotations

import base64
import math
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from medcli.errors import DataError
from medcli.report import blocks as b
from medcli.report.charts import Axes, Curve, draw, ticks
from medcli.report.cloud import MOST_FACES, MOST_POINTS, first_view, point_cloud, read_ply, simplify
from medcli.report.page import Page, render

"""``medcli export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medcli.cli.shared import options
from medcli.cli.shared.multi_value_options import App
from medcli.cli.shared.output import Output
from medcli.core.files import check_output_folder, check_replaceable
from medcli.core.refusals import refusals

if TYPE_CHECKING:
    from medcli.ultrabones.segmentation.onnx_graph.export import SegExport

app = App()


@app.callback()
def group() -> None:
    pass


@app.command("seg")
def seg(
    output: Output,
    out: Annotated[Path, typer.Option(help="The .onnx file to write.")] = Path("model.onnx"),
    checkpoint: options.SegCheckpoint = None,
    threshold: options.Threshold = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Write a segmentation network as ONNX.

    Resizing and thresholding are inside, and the result is compared with torch. The model takes "frames", uint8 grey
    (frames, rows, columns) of any size, and gives "probability" (float32) and "mask" (uint8, 0 or 255) of that size.
    """
    from medcli.ultrabones.segmentation.checkpoint_metadata import check_segmentation_checkpoint
    from medcli.ultrabones.segmentation.onnx_graph.export import check_onnx_packages, export_seg

    with refusals() as check:
        check(check_onnx_packages)
        check(check_replaceable, out, overwrite)
        check(check_segmentation_checkpoint, checkpoint)
        check(check_output_folder, out.parent)
    output.finish(export_seg(checkpoint, out, threshold, overwrite), lambda done: _show(output, done))


def _show(output: Output, done: SegExport) -> None:
    output.pairs(
        {
            "checkpoint": done.checkpoint,
            "written": f"{done.path} ({done.bytes / 1e6:.1f} MB, opset {done.opset})",
            "input": "frames, uint8 (frames, rows, columns), any size",
            "outputs": "probability, float32, and mask, uint8 0/255, of the same size",
            "parity": f"network: probabilities within {done.network_difference:.1e} of torch",
            "": f"with resizing: within {done.largest_difference:.1e}; "
            f"{done.pixels_differing:,} of {done.pixels_compared:,} mask pixels differ",
        }
    )

"""``medcli publish``: send results to where others find them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medcli.cli.shared import options
from medcli.cli.shared.multi_value_options import App
from medcli.cli.shared.output import Output
from medcli.core.refusals import refusals
from medcli.interchange.notes import check_repository, token_of_environment
from medcli.training.checkpoint_files.checkpoint_file import check_checkpoint_file

if TYPE_CHECKING:
    from medcli.interchange.publish_checkpoint import PublishedCheckpoint

app = App()


@app.callback()
def group() -> None:
    pass


@app.command("checkpoint")
def checkpoint(
    output: Output,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint, .safetensors.")],
    repository: Annotated[
        str, typer.Option(metavar="OWNER/NAME", help="Repository of models; made if it is not there.")
    ],
    evaluation: Annotated[
        Path | None,
        typer.Option(help="Folder of medcli evaluate, whose figures the card shows.  [default: none]"),
    ] = None,
    private: Annotated[bool, typer.Option(help="A repository that is made is private.")] = False,
    push: Annotated[bool, typer.Option("--push", "--yes", help="Send it; else it is only shown.")] = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Publish a checkpoint on the Hugging Face Hub, with a model card.

    The card says what the network was trained on, the licence of the data, and the figures of an evaluation. Without
    --push nothing is sent. The token is that of the variable HF_TOKEN.

    \b
    Look at the card first; then send it:
      medcli publish checkpoint best.safetensors --repository me/bone \\
        --evaluation runs/evaluate/seg
      medcli publish checkpoint best.safetensors --repository me/bone --push
    """
    from medcli.interchange.model_card import read_carded

    with refusals() as check:
        check(check_repository, repository)
        check(check_checkpoint_file, file, "train one: medcli train seg")
        if file.is_file():
            check(read_carded, file)
        if push:
            check(token_of_environment)
    from medcli.interchange.publish_checkpoint import publish_checkpoint

    result = publish_checkpoint(file, repository, evaluation, private, push, overwrite, output.quiet)
    output.finish(result, lambda done: _show(output, done))


def _show(output: Output, done: PublishedCheckpoint) -> None:
    from medcli.transfer.plan import gigabytes

    rows = {
        "repository": f"{done.address}{', private if it is made' if done.private else ''}",
        "trained on": done.trained_on,
        "licence": done.licence,
        "figures": ", ".join(done.protocols) or "none",
        "files": ", ".join(f"{name} {gigabytes(size)}" for name, size in done.files.items()),
    }
    output.pairs(
        rows | {f"warning{'' if place == 0 else ' ' * place}": text for place, text in enumerate(done.warnings)}
    )
    output.line()
    if done.sent:
        output.line(f"sent: commit {done.commit}")
        return
    output.line(done.card)
    output.line("nothing was sent: --push sends these files")

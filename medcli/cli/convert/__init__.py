"""``medcli convert``: write data for other programs."""

from medcli.cli.convert.implants import autoscoper, jtml, slicer_veriserum
from medcli.cli.convert.labelled import coco, nnunet, yolo
from medcli.cli.convert.tables import croissant, opensim
from medcli.cli.convert.tracked import plus, slicer_ultrabones
from medcli.cli.shared.multi_value_options import App

app = App()
for command in (nnunet, coco, yolo, plus, slicer_ultrabones, slicer_veriserum, jtml, autoscoper, opensim, croissant):
    app.command(command.__name__.replace("_", "-"))(command)

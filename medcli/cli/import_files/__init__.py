"""``medcli import``: make records and tables of files that other programs wrote."""

from medcli.cli.import_files.implant_poses import autoscoper, jtml
from medcli.cli.import_files.plus import plus
from medcli.cli.shared.multi_value_options import App

app = App()
for command in (plus, jtml, autoscoper):
    app.command(command.__name__)(command)

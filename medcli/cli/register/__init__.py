"""``medcli register``: find where what is known by its surface lies."""

from medcli.cli.register.bone import bone
from medcli.cli.register.implants import pose, trial
from medcli.cli.shared.multi_value_options import App

app = App()
for command in (pose, trial, bone):
    app.command(command.__name__)(command)

"""``medcli evaluate``: compare predictions with labels and references."""

from medcli.cli.evaluate.frames import seg
from medcli.cli.evaluate.implant_poses import pose
from medcli.cli.evaluate.knee_motion import kinematics
from medcli.cli.evaluate.registration import registration
from medcli.cli.shared.multi_value_options import App

app = App()
for command in (seg, pose, kinematics, registration):
    app.command(command.__name__)(command)

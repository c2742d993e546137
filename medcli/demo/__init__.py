"""The demonstration (``medcli demo``): synthetic copies of both datasets, and every command run on them.

:func:`run_demo` makes the data and runs the commands one after another through the function passed to it. Heavy imports
happen in the step that needs them.
"""

from medcli.demo.plan import DemoPlan, Size
from medcli.demo.result import BeforeAfter, DemoResult, ResultImage, Step
from medcli.demo.run import Listener, run_demo
from medcli.workspace.demo_folder import SCHEMA

__all__ = ["SCHEMA", "BeforeAfter", "DemoPlan", "DemoResult", "Listener", "ResultImage", "Size", "Step", "run_demo"]

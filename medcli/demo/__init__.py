"""The demonstration (``medcli demo``): synthetic copies of both datasets, and every command run on them.

:func:`run_demo` makes the data and calls the public library function behind each command, one step after another.
Nothing heavy is imported before a step needs it.
"""

from medcli.demo.plan import Plan, Size
from medcli.demo.result import SCHEMA, BeforeAfter, DemoResult, Picture, Step
from medcli.demo.run import Listener, run_demo

__all__ = ["SCHEMA", "BeforeAfter", "DemoResult", "Listener", "Picture", "Plan", "Size", "Step", "run_demo"]

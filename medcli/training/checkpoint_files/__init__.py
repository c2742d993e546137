"""Reading of checkpoint files that may come from anywhere: bounded work, and nothing in them is executed."""

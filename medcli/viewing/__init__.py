"""Records, pairs, trials and runs in the viewer rerun (``medcli view``)."""

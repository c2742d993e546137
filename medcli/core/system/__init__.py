"""What differs between operating systems: whether a process runs, names of files, files that are open elsewhere."""

"""What a run leaves about itself, beside its results."""

"""Reports on bone in space."""

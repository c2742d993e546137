"""Tracked ultrasound in one file, as the PLUS toolkit records it."""

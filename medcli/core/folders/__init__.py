"""Folders as results: complete or absent, as files are."""

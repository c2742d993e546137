"""Moves files from any source into a folder: verified, resumable, in parallel. Knows no dataset and no vendor's SDK.

``source`` says what a source is; ``fetch`` moves one file; ``zips`` and ``members`` take parts out of a remote ZIP;
``folder`` is the destination with its lock and manifest; ``download`` puts them together.
"""

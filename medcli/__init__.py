"""One toolkit for the UltraBones100k and Veriserum orthopaedic imaging datasets."""

__version__ = "0.1.0"

"""Conversions to and from the formats of other programs, one module a format.

Formats are written and read as their sources describe them (named in each module), and in the tests every file is read
back by an implementation that is not ours.
"""

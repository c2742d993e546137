"""What the files of each image format say of themselves, and whether their data are whole.

Image codecs are made for viewers: damaged data become grey pixels and a line on stderr. Measurements must not be made
on such pixels, so each module here raises :class:`medcli.core.image_formats.damage.DamagedImage` instead.
"""

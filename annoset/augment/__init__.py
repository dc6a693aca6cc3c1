"""SSD's data augmentation, one step a file, in the order in which an image passes through them.

`distort` (colours), `expand` (a larger canvas), `sampler` (a crop of it), `resize`; `transform` puts them together and
adds mirror, mean and scale.
"""

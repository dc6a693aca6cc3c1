"""SSD's data augmentation, one step a file, in the order in which an image passes through them.

`distort` (colours), `expand` (a larger canvas), `sampler` (a crop of it), `resize`, `noise`, `mean`; `transform` puts
them together, with `crop_size` and mirror.
"""

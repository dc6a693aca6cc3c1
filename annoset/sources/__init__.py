"""What feeds a net: a source for each type of data layer, whose batches depend on the seed and their number alone.

`batches` is what all sources share, `order` says which record is which image of a run, `pixels` is what Data and
ImageData do to an image; `preview` shows people what AnnotatedData makes of its records.
"""

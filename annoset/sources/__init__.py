"""What feeds a net besides AnnotatedData: a source for each layer type, whose batches depend on seed and number alone.

`batches` is what all sources share, `pixels` what is done to an image.
"""

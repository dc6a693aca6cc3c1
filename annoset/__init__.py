"""Annotations: from a data set's files to AnnotatedDatum LMDBs, and from those to a net's input.

`formats` read and write a data set's files; `writing` makes databases of them; `reading` looks into databases and goes
back to files; `sources` feed nets, with what `augment` does to images. What several of these share is beside them.
"""

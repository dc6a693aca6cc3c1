"""Annotations: from a data set's files to AnnotatedDatum LMDBs, and from those to a net's input."""

"""Detection heads: from named maps of a backbone to a loss or to detections."""

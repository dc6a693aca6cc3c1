"""The Caffe format itself: schema, text and binary files, phases, shapes, summaries, drawings."""

"""Layers that feed a net compute nothing: their tops are given to `CaffeNet` (see `prototxt.shapes.SOURCES`)."""

"""Backbones: a file per family. Each takes a net whose `data` is named and names its detection maps in it."""

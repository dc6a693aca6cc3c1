"""Readers of annotation formats: each gives `annoset.annotation.Annotation`."""

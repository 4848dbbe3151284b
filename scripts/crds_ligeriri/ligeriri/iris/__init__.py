"""IRIS has no special rules in crds."""

"""Liger has no special rules in crds."""

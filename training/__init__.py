"""Distillation of `micro`, the small student of SEA-64 that ships with the package."""

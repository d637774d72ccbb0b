"""Judging labels: model agreement, attention maps and priority. Needs no Slicer."""

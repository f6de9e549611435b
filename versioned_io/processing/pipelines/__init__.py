"""Pipelines: named computations from inputs to an output branch, as functions of a datum."""

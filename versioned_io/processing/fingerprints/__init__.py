"""The identity of a computation: digests of code, parameters and environment."""

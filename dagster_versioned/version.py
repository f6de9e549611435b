"""The version of this package: that of the distribution it is part of."""

from importlib.metadata import version

__version__ = version("versioned-io")

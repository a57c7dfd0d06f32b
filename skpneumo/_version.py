"""The version of this package, for whatever else stands below its public names."""

__version__ = "0.1.0.dev0"

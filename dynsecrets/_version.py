"""The version of the package: read by the build, by user agents and by ``dynsecrets.__version__``."""

__version__ = "0.1.0"

"""The command line: a thin shell over the library. Each command is one documented call of it."""

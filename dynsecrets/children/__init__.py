"""Child processes with a secrets config's values: their environment, signals, terminal, and end."""

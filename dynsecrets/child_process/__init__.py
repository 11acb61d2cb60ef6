"""Running a command with leased values."""

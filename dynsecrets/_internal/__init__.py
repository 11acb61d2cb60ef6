"""What every floor uses and nobody outside imports: fork safety, threads, messages, the log."""

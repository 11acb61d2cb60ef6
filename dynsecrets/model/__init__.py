"""Pure values and the integration's interface: no I/O."""

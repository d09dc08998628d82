"""Studies of many experiments, and where they run."""

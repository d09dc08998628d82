"""The command line: parses, builds a plan, calls, prints."""

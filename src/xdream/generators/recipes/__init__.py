"""Generators that people use, from packages and files that exist: an adapter of a page each."""

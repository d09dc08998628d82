"""Recordings -> responses -> scores, and checks of the channels."""

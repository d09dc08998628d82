"""Sessions with a rig: what is shown, what an answer is worth, what is written."""

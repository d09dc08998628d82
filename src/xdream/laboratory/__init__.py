"""Sessions with a rig: bridges, the session itself, a simulated rig for rehearsals."""

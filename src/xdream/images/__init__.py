"""Files <-> arrays: one codec, resizing, reference photographs."""

"""A record in the formats of other programs: tables, MATLAB, NWB, images."""

"""Simulated rigs: the other end of each bridge, with a network unit as the neuron, for rehearsals."""

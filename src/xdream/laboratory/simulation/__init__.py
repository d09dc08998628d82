"""Simulated rigs: the other end of each bridge, with a network unit as the neuron, for rehearsals."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

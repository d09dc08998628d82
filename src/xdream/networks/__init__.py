"""Architectures and their files: from a network's name to a frozen module and its preprocessing."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""The published experiments as studies: one file each, a table, a figure, a verdict on every claim."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

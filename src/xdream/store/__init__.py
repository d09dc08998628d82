"""The record of an experiment: one SQLite file, one writer, any number of readers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

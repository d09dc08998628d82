"""Sessions with a rig: what is shown, what an answer is worth, what is written, what optimizers are told."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

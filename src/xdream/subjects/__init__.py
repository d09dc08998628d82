"""What responds to images: network units, neurons with a known optimum, image matching; noise."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

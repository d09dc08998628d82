"""Training a generator: images and a network's layer -> a generator file.

images -> features of the layer -> whitened codes -> images again, compared with the first ones
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

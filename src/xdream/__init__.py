"""XDream: evolve the image that a neuron likes best, without gradients."""

import lazy_loader

from xdream.waiting import wait_shortly

wait_shortly()  # before PyTorch comes
# Imported when first used, since torch comes with most of it.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

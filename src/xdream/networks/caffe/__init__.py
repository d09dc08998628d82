"""Caffe's files, read into PyTorch: `load(prototxt, caffemodel)` -> a module that computes any blob.

Without Caffe. See docs/caffe.md for what is read, and for the networks of the paper.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

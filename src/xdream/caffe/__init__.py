"""Caffe's files, read into PyTorch: `load(prototxt, caffemodel)` -> a module that computes any blob.

Without Caffe. See docs/caffe.md for what is read, and for the networks of the paper.
"""

from xdream.caffe.net import CaffeNet, load

__all__ = ["CaffeNet", "load"]

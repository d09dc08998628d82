"""What networks there are, by name: for a list, which needs no PyTorch."""

from __future__ import annotations

#: Those that come with XDream; `loading.py` makes them.
NAMED = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2", "squeezenet1.1")
#: The user's own; words in capitals stand for names and files.
FORMS = ("timm:NAME", "caffe:PROTOTXT", "onnx:FILE", "http://…", "python:MODULE:FUNCTION", "file:PATH")


def names() -> list[str]:
    """What `load` takes."""
    return [*NAMED, *FORMS]

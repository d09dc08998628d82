"""Sessions with a rig: what is shown, what an answer is worth, what is written, what optimizers are told."""

from xdream.session.orders import give
from xdream.session.serving import bridge_of, resume, serve
from xdream.session.session import Session

__all__ = ["Session", "bridge_of", "give", "resume", "serve"]

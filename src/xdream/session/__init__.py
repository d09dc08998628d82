"""Sessions with a rig: what is shown, what an answer is worth, what is written, what optimizers are told."""

from xdream.session.orders import give
from xdream.session.rescoring import Rescored, rescore
from xdream.session.serving import bridge_of, resume, serve
from xdream.session.session import Session

__all__ = ["Rescored", "Session", "bridge_of", "give", "rescore", "resume", "serve"]

"""XDream: evolve the image that a neuron likes best, without gradients."""

from xdream import optimizers
from xdream.evolution import Evolution
from xdream.loop import resume, run
from xdream.plan import Plan
from xdream.store import Record

__all__ = ["Evolution", "Plan", "Record", "optimizers", "resume", "run"]

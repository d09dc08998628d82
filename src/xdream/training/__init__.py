"""Training a generator: images and a network's layer -> a generator file.

images -> features of the layer -> whitened codes -> images again, compared with the first ones
"""

from xdream.training.folder import RECIPE
from xdream.training.recipe import Recipe
from xdream.training.session import resume, train

__all__ = ["RECIPE", "Recipe", "resume", "train"]

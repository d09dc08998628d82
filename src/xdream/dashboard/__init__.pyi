from .process import View as View
from .process import view as view

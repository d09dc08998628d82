from .recipe import Recipe as Recipe
from .training_folder import RECIPE as RECIPE
from .training_run import resume as resume
from .training_run import train as train

from . import optimizers as optimizers
from .experiment.evolution import Evolution as Evolution
from .experiment.loop import resume as resume
from .experiment.loop import run as run
from .experiment.plan import Plan as Plan
from .experiment.record import Record as Record

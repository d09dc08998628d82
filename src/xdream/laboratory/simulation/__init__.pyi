from .base import Driver as Driver
from .base import Offered as Offered
from .drivers import driver_of as driver_of
from .faults import Faults as Faults
from .neurons import NeuronsPlan as NeuronsPlan
from .neurons import SimulatedNeurons as SimulatedNeurons
from .rehearsal import rehearse as rehearse
from .rig import simulate as simulate

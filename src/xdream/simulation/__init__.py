"""Simulated rigs: the other end of each bridge, with a network unit as the neuron, for rehearsals."""

from xdream.simulation.base import Driver, Offered
from xdream.simulation.drivers import driver_of
from xdream.simulation.faults import Faults
from xdream.simulation.neurons import NeuronsPlan, SimulatedNeurons
from xdream.simulation.rehearsal import rehearse
from xdream.simulation.rig import simulate

__all__ = [
    "Driver",
    "Faults",
    "NeuronsPlan",
    "Offered",
    "SimulatedNeurons",
    "driver_of",
    "rehearse",
    "simulate",
]

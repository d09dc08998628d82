"""What responds to images: network units, neurons with a known optimum, image matching; noise."""

from xdream.subjects.base import Subject
from xdream.subjects.channels import RIG, Channels, channel_of
from xdream.subjects.known import KNOWN, KnownPixels, known_pixels
from xdream.subjects.matching import ImageMatch
from xdream.subjects.network import NetworkUnits, network_units
from xdream.subjects.noise import noise_draws, poisson_responses
from xdream.subjects.target import LIST_SUFFIX, Unit, parse_units, read_list, split

__all__ = [
    "KNOWN",
    "LIST_SUFFIX",
    "RIG",
    "Channels",
    "ImageMatch",
    "KnownPixels",
    "NetworkUnits",
    "Subject",
    "Unit",
    "channel_of",
    "known_pixels",
    "network_units",
    "noise_draws",
    "parse_units",
    "poisson_responses",
    "read_list",
    "split",
]

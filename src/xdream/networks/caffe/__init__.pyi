from .net import CaffeNet as CaffeNet
from .net import load as load

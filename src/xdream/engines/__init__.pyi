from .base import ENGINES as ENGINES
from .base import ORDER as ORDER
from .base import BatchFunction as BatchFunction
from .base import Engine as Engine
from .base import GraphFile as GraphFile
from .base import Running as Running
from .compiler import through_compiler as through_compiler

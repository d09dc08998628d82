from .orders import give as give
from .rescoring import Rescored as Rescored
from .rescoring import rescore as rescore
from .serving import bridge_of as bridge_of
from .serving import resume as resume
from .serving import serve as serve
from .session import Session as Session

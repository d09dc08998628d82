from .bridges import BridgeAdapter as BridgeAdapter
from .bridges import bridge_checks as bridge_checks
from .bridges import check_bridge as check_bridge
from .generators import check_generator as check_generator
from .objectives import check_objective as check_objective
from .optimizers import check_optimizer as check_optimizer
from .stores import check_store as check_store
from .subjects import check_subject as check_subject

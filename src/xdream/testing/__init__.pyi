from .generators import check_generator as check_generator
from .objectives import check_objective as check_objective
from .optimizers import check_optimizer as check_optimizer
from .subjects import check_subject as check_subject

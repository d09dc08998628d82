from .stores import check_store as check_store
from .subjects import check_subject as check_subject

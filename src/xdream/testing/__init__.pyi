from .subjects import check_subject as check_subject

"""What every part of a kind must do, for the tests of those who write one.

    from xdream import testing
    testing.check_generator(my_generator)
    testing.check_optimizer(my_optimizer)
    testing.check_objective(my_objective, channels=3)
    testing.check_subject(my_subject, size_px=64)

Each raises an AssertionError with a sentence, and needs no test framework.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

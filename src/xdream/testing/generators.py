"""What every generator must do."""

from xdream.generators.conformance import check_generator as check_generator

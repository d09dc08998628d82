from .figures import Figures as Figures
from .figures import RunFigures as RunFigures
from .figures import show as show
from .summary import RunSummary as RunSummary
from .summary import plan_of as plan_of
from .summary import reference_scores as reference_scores
from .summary import summarise as summarise
from .text_table import table as table

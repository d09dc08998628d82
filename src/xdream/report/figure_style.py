"""What all figures have in common: colours, sizes, how one is begun, and the one way into a file.

Nothing in a figure depends on the time or on the user's matplotlib settings: equal data give equal bytes.
"""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib.style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from xdream.images import files

# Okabe & Ito's colours, which colour-blind readers tell apart.
BLUE, VERMILION, GREY, LIGHT, INK = "#0072B2", "#D55E00", "#757575", "#B5B5B5", "#333333"
COLOURS = (BLUE, "#E69F00", "#009E73", "#CC79A7", INK)
WIDTH_IN, TITLE_IN, NOTE_IN = 7.2, 0.3, 0.13
STYLE = {
    "font.size": 8,
    "axes.labelsize": 8,
    "figure.titlesize": 8.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.solid_capstyle": "round",
    "text.parse_math": False,  # names of targets and files may hold dollar signs
    "savefig.dpi": 200,
    "svg.hashsalt": "xdream",
    "svg.fonttype": "none",  # letters stay letters, in PDF too
    "pdf.fonttype": 42,
}


#: What would differ from one writing to the next.
_NO_TIMES: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Producer": None},
    "svg": {"Date": None},
}


@contextmanager
def style() -> Iterator[None]:
    """Within it, figures are drawn as XDream draws them, whatever the user's settings are."""
    with matplotlib.style.context(STYLE, after_reset=True):
        yield


def new_figure(height_in: float, title: str, notes: Sequence[str] = (), columns: int = 130) -> Figure:
    """A figure with a title and small print below. height_in: without those. Used within `style`."""
    small = _small_print(notes, columns)
    height_in += TITLE_IN + NOTE_IN * len(small.splitlines())
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left")
    add_notes(figure, notes, columns)
    return figure


def add_notes(figure: Figure, notes: Sequence[str], columns: int = 130) -> None:
    """Small print at the foot of a figure. columns: letters in a line."""
    small = _small_print(notes, columns)
    if small:
        figure.supxlabel(small, x=0.01, ha="left", fontsize=6.5, color=GREY)


def _small_print(notes: Sequence[str], columns: int) -> str:
    return "\n".join(textwrap.fill(note, columns) for note in notes if note)


def write_figure(figure: Figure, path: Path) -> Path:
    """A figure as a file of the kind that its name has (png, pdf, svg), whole or not at all; its path.

    Raises BadInput where it cannot be written.
    """
    page, kind = io.BytesIO(), path.suffix.removeprefix(".")
    with style(), quiet():
        figure.savefig(page, format=kind, metadata=_NO_TIMES[kind])
    return files.write(path, page.getvalue(), "figure")


@contextmanager
def quiet() -> Iterator[None]:
    """A name in a script that the font lacks is drawn as boxes, without a warning for each letter."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield

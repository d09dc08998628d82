"""Reading a prototxt: text in, the layers of the network as it is used (not trained) out."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from xdream import text
from xdream.errors import BadInput
from xdream.files import mistaken
from xdream.networks.caffe.schema import NetParameter, layer_type

#: Larger files are no definitions of networks (that of ResNet-269 has 0.2 MB, and 1,500 layers); a second or
#: two is all that one takes to read.
MOST_BYTES = 4_000_000
MOST_LAYERS = 10_000
#: How deeply messages may stand inside one another (the format itself needs 4).
MOST_NESTED = 20
#: The phase, as a number of the format.
TEST = 1

_TOKEN = re.compile(
    # A string ends where its line does, closed or not: so no character is looked at twice.
    r"""(?P<skip>\#[^\n]*)|(?P<string>"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?)|(?P<open>[{<])|(?P<close>[}>])"""
    r"|(?P<word>[A-Za-z_]\w*)"
)


@dataclass(frozen=True)
class Layer:
    """A layer. settings: its message, of either generation. line: where it begins in the file."""

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    settings: Any
    line: int

    def __str__(self) -> str:
        return f"layer '{self.name}' (type {self.type}, line {self.line})"


@dataclass(frozen=True)
class Definition:
    """A network. inputs: blobs that are given, with the shape that the file declares."""

    name: str
    inputs: dict[str, tuple[int, ...]]
    layers: tuple[Layer, ...]


def read(path: Path, known: Collection[str]) -> Definition:
    """The network of a prototxt as in the phase TEST.

    known: the types of layers whose settings must be understood to the last word. Raises BadInput, with the
    line.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise BadInput(f"{path} has {size:,} bytes, which is no prototxt; give the deploy prototxt")
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read prototxt {path} ({type(error).__name__}: {error})") from None
    try:
        # Comments are in any encoding: networks are published by people of all languages.
        return parse(text.decoded(data, comment=text.IN_PROTOTXT), known)
    except BadInput as error:
        raise BadInput(f"prototxt {path}: {mistaken(data) or error}") from None


def parse(content: str, known: Collection[str]) -> Definition:
    """The same from its text."""
    spans = list(_layer_spans(content))
    # What the network does not use (data bases, losses, training) may stand in the file all the same.
    net = _parsed(content, lenient=True)
    messages = [*net.layer, *net.layers]
    if len(net.layer) and len(net.layers):
        raise BadInput("it has both `layer` and `layers`; a network has one of them")
    if len(messages) > MOST_LAYERS:
        raise BadInput(f"it has {len(messages):,} layers, more than {MOST_LAYERS:,}")
    if len(messages) != len(spans):
        raise BadInput("its layers cannot be told apart; write each as `layer { … }`")
    inputs = _inputs(net)
    layers: dict[str, Layer] = {}
    for message, (line, start, end) in zip(messages, spans, strict=True):
        if not _used(message, net.state):
            continue
        layer = Layer(message.name, layer_type(message), (*message.bottom,), (*message.top,), message, line)
        if layer.type in (*known, "Input"):
            _parsed(content[start:end], lenient=False, first_line=line)
        if layer.type == "Input":
            shapes = [tuple(shape.dim) for shape in message.input_param.shape]
            inputs |= _shaped(layer.tops, shapes, str(layer))
        elif layer.name in layers:
            raise BadInput(f"{layer} has the name of the one of line {layers[layer.name].line}")
        else:
            layers[layer.name] = layer
    if not inputs:
        raise BadInput(
            "it declares no input; give the deploy prototxt, with `input` or a layer of type Input"
        )
    return Definition(net.name, inputs, tuple(layers.values()))


def _layer_spans(text: str) -> Iterator[tuple[int, int, int]]:
    """(line, start, end) of each `layer { … }` or `layers { … }` of the network itself."""
    depth, start, line, counted = 0, -1, 1, 0
    word = ""
    for token in _TOKEN.finditer(text):
        match token.lastgroup:
            case "open":
                if depth == 0 and word in ("layer", "layers"):
                    line += text.count("\n", counted, start)
                    counted = start
                depth += 1
                if depth > MOST_NESTED:
                    raise BadInput(f"messages stand in one another more than {MOST_NESTED} deep")
            case "close":
                depth -= 1
                if depth == 0 and word in ("layer", "layers"):
                    yield line, start, token.end()
                    word = ""
            case "word" if depth == 0:
                word, start = token.group(), token.start()


def _parsed(content: str, *, lenient: bool, first_line: int = 1) -> Any:
    """The network in a text, which begins in a line of the file. Raises BadInput with the line and column."""
    try:
        with warnings.catch_warnings():  # of escapes in strings that Python does not know
            warnings.simplefilter("ignore", DeprecationWarning)
            return text_format.Parse(content, NetParameter(), allow_unknown_field=lenient)
    except text_format.ParseError as error:
        line, column = error.GetLine(), error.GetColumn()
        where = "" if line is None else f"line {line + first_line - 1}, column {column}: "
        said = str(error).removeprefix(f"{line}:{column} : ").replace("xdream.caffe.", "")
        raise BadInput(f"{where}{text.shortened(said)}") from None
    except (ValueError, RecursionError) as error:  # of numbers and escapes that nobody writes
        raise BadInput(f"{type(error).__name__}: {text.shortened(str(error))}") from None


def _inputs(net: Any) -> dict[str, tuple[int, ...]]:
    """Inputs that are declared outside of layers."""
    shapes = [tuple(shape.dim) for shape in net.input_shape]
    if net.input_dim:
        if shapes or len(net.input_dim) != 4 * len(net.input):
            raise BadInput(
                f"{len(net.input)} inputs with {len(net.input_dim)} input_dim and {len(shapes)} input_shape; "
                "each needs four input_dim, or one input_shape"
            )
        shapes = [tuple(net.input_dim[4 * i : 4 * i + 4]) for i in range(len(net.input))]
    return _shaped(tuple(net.input), shapes, "the network")


def _shaped(names: Sequence[str], shapes: Sequence[tuple[int, ...]], who: str) -> dict[str, tuple[int, ...]]:
    """Each input with its shape; one shape may serve all."""
    if len(shapes) == 1:
        shapes = [*shapes] * len(names)
    if len(shapes) != len(names):
        raise BadInput(f"{who} has {len(names)} inputs and {len(shapes)} shapes; each needs one")
    return dict(zip(names, shapes, strict=True))


def _used(layer: Any, state: Any) -> bool:
    """Whether a layer is there in the phase TEST."""
    if layer.include:
        return any(_meets(rule, state) for rule in layer.include)
    return not any(_meets(rule, state) for rule in layer.exclude)


def _meets(rule: Any, state: Any) -> bool:
    stages = set(state.stage)
    return (
        (not rule.HasField("phase") or rule.phase == TEST)
        and (not rule.HasField("min_level") or rule.min_level <= state.level)
        and (not rule.HasField("max_level") or rule.max_level >= state.level)
        and stages.issuperset(rule.stage)
        and stages.isdisjoint(rule.not_stage)
    )

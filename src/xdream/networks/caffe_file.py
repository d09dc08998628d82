"""Networks from Caffe's files, by the names under which targets and generators are written."""

from __future__ import annotations

from pathlib import Path

from xdream.errors import BadInput, WeightsMissing
from xdream.files import left_by_system
from xdream.networks import caffe
from xdream.networks.base import Network, Preprocessing, as_table

#: Of CaffeNet, and of many others that were trained with Caffe on ImageNet: BGR, the mean colour removed.
CAFFE_MEAN = (104.0, 117.0, 123.0)
#: How names of weights end; the second are HDF5.
MODELS = (".caffemodel", ".caffemodel.h5")


def load(name: str, preprocessing: Preprocessing | None = None, random_weights: int | None = None) -> Network:
    """`caffe:PROTOTXT[+CAFFEMODEL]`, or a folder with one of each. Layers are blobs, or layers' names.

    Without a declared preprocessing that of CaffeNet is taken, at the file's own size, with a warning.
    Raises BadInput, WeightsMissing, WeightsInvalid.
    """
    prototxt, model = files(name.partition(":")[2], needed=random_weights is None)
    net = caffe.load(prototxt, None if random_weights is not None else model, seed=random_weights or 0)
    shapes = list(net.inputs.values())
    if len(shapes) != 1 or len(shapes[0]) != 3 or shapes[0][0] != 3:
        said = ", ".join(f"{blob} {shape}" for blob, shape in net.inputs.items())
        raise BadInput(
            f"'{name}' takes {said}; a network that is shown images has one input, (3, height, width)"
        )
    height, width = shapes[0][1:]
    if preprocessing is not None:
        return Network(name, net, preprocessing)
    own = Preprocessing((height, width), "BGR", 1.0, CAFFE_MEAN)
    said = f"'{name}' does not say how it takes images; that of CaffeNet is used (BGR, mean {CAFFE_MEAN})"
    return Network(
        name, net, own, warnings=(f"{said}; declare its preprocessing in a plan if it is another",)
    )


def split(text: str) -> tuple[str, str]:
    """(prototxt or folder, caffemodel or "") of what is written behind `caffe:`.

    A plus is between them where both are there; else where their names end as such files do.
    """
    pluses = [(text[:i], text[i + 1 :]) for i, character in enumerate(text) if character == "+"]
    for first, second in pluses:
        if Path(first).expanduser().exists() and Path(second).expanduser().is_file():
            return first, second
    named = [pair for pair in pluses if _is_model(pair[1])]
    if not named or Path(text).expanduser().exists():
        return text, ""
    return next((pair for pair in named if pair[0].lower().endswith(".prototxt")), named[-1])


def _is_model(path: str) -> bool:
    return path.lower().endswith(MODELS)


def _of_kind(folder: Path, *ends: str) -> list[Path]:
    """The files in a folder whose names end so, in order; without what systems leave there."""
    names = sorted(path.name for path in folder.iterdir())
    return [folder / one for one in names if one.lower().endswith(ends) and not left_by_system(one)]


def files(text: str, needed: bool = True) -> tuple[Path, Path | None]:
    """The prototxt and the caffemodel of `PROTOTXT[+CAFFEMODEL]` or a folder with one of each.

    A prototxt alone goes with the caffemodel of its name, or the only one beside it. Raises BadInput,
    WeightsMissing where `needed`.
    """
    first, second = split(text)
    if _is_model(first.partition("+")[0]):
        raise BadInput(
            f"caffe:{text} begins with the weights; write caffe:PROTOTXT+CAFFEMODEL, or the folder"
        )
    path = Path(first).expanduser()
    folder = path if path.is_dir() else path.parent
    if path.is_dir():
        found = _of_kind(path, ".prototxt")
        if len(found) > 1:  # the definition for use is called deploy by custom
            found = [file for file in found if "deploy" in file.name.lower()] or found
        if len(found) != 1:
            raise BadInput(f"{len(found)} files *.prototxt in {path}; name the one that is meant")
        [path] = found
    if not path.is_file():
        raise BadInput(f"no prototxt {path}; check the path{as_table(text)}")
    if second:
        model = Path(second).expanduser()
        if needed and not model.is_file():
            raise WeightsMissing(f"no weights file {model}; check the path")
        return path, model
    every = _of_kind(folder, *MODELS)
    models = [
        one for one in every if one.name.lower().removesuffix(".h5") == f"{path.stem.lower()}.caffemodel"
    ]
    models = models or every
    if len(models) == 1:
        return path, models[0]
    if needed:
        raise WeightsMissing(
            f"{len(models)} files *.caffemodel beside {path}; name the one that is meant: "
            f"caffe:{path}+CAFFEMODEL"
        )
    return path, None

"""Generators of the user's own: `python:MODULE:CALLABLE`, `file:FILE`, `onnx:FILE`, with a table in the plan.

code -> inputs -> the user's program -> images as it gives them -> (n, 3, size, size) in [0, 1]
        (inputs.py)                     output_range, channels, layout
"""

from __future__ import annotations

import copy
import functools
import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, cast, final

import torch
from pydantic import Field
from torch import nn

from xdream import files, networks
from xdream.errors import BadInput
from xdream.generators.base import Generator
from xdream.generators.conformance import check_generator
from xdream.generators.distributions import JoinedCodes, SpreadCodes
from xdream.generators.inputs import Given, Initial, Input, InputPlan, opened, parsed
from xdream.generators.onnx_program import OnnxProgram
from xdream.generators.output import Output
from xdream.networks import one_line, own
from xdream.networks.base import existing
from xdream.options import options_of
from xdream.registry import declares
from xdream.types import Codes, Images

#: Codes of the trial, whose images say the size.
TRIAL = 3
#: The keys of the table that are about inputs.
INPUT_KEYS = tuple(key for key in InputPlan.model_fields if key not in ("name", "value"))


class Program(nn.Module):
    """A callable of the user's as a module, of one or of several inputs."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> Any:
        """What the callable gives."""
        return self.function(*inputs)


@final
@dataclass(eq=False)
class Own:
    """A program of the user's as a generator.

    inputs: what it is given, in order. output: how what it gives becomes images. bounds: (low, high) of the
    codes, (d,) each, for `codes = "box"`; None where the plan says none.
    """

    name: str
    code_shape: tuple[int, ...]
    image_size_px: int
    module: nn.Module
    inputs: tuple[Input, ...]
    output: Output
    initial: SpreadCodes
    centre: torch.Tensor
    bounds: tuple[torch.Tensor, torch.Tensor] | None
    fingerprint: str
    differentiable: bool = False
    warnings: tuple[str, ...] = field(default=())

    def __call__(self, codes: Codes) -> Images:
        """(n, d) -> (n, 3, size, size)."""
        return self.output.images(self.raw(codes))

    def raw(self, codes: Codes) -> Any:
        """(n, d) -> what the program gives."""
        return self.module(*(one.prepared(part) for one, part in self.parts(codes)))

    def parts(self, codes: Codes) -> list[tuple[Input, Codes]]:
        """(n, d) -> each input with the part of the codes that is its own."""
        pieces = torch.split(codes, [one.plan.size for one in self.inputs], dim=1)
        return list(zip(self.inputs, pieces, strict=True))

    def to(self, device: torch.device) -> Own:
        """The same generator on a device; this one stays where it is."""
        if device == self.centre.device:
            return self
        return replace(
            self,
            module=copy.deepcopy(self.module).to(device),
            initial=self.initial.to(device),
            centre=self.centre.to(device),
            bounds=None if self.bounds is None else (self.bounds[0].to(device), self.bounds[1].to(device)),
        )


def described(
    name: str, module: nn.Module, digest: str, table: Mapping[str, Any], warnings: tuple[str, ...] = ()
) -> Generator:
    """A module as a generator, described by a table as in a plan, and checked: what recipes return.

    digest: what its images depend on, as SHA-256. warnings: beside those of the trial. Raises BadInput.
    """
    try:
        made = _made(name, module, digest, table)
        return _checked(replace(made, warnings=(*warnings, *made.warnings)))
    except BadInput as error:
        raise BadInput(f"generator '{name}': {error}") from error.__cause__


def _absolute(name: str) -> str:
    return networks.absolute(name)


def _absolute_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """With absolute paths inside the tables of inputs, too."""
    inputs = options.get("inputs")
    if not isinstance(inputs, list | tuple):
        return dict(options)
    paths = ("covariance", "file")
    tables = [
        {k: files.absolute(v) if k in paths and isinstance(v, str) else v for k, v in one.items()}
        if isinstance(one, dict)
        else one
        for one in inputs
    ]
    return {**options, "inputs": tables}


@declares(absolute=_absolute, absolute_options=_absolute_options)
def generator(
    name: str,
    *,
    code_size: Annotated[int, Field(ge=1)] | list[int] | None = None,
    initial: Initial | None = None,
    mean: float | list[float] | None = None,
    scale: float | list[float] | None = None,
    covariance: Path | None = None,
    low: float | list[float] | None = None,
    high: float | list[float] | None = None,
    truncation: float | None = None,
    file: Path | None = None,
    given: Given | None = None,
    inputs: list[dict[str, Any]] | None = None,
    output: str | int | None = None,
    output_range: list[float] | None = None,
    channels: Literal["RGB", "BGR", "grey"] | None = None,
    layout: Literal["NCHW", "NHWC"] | None = None,
    image_size_px: Annotated[int, Field(ge=1)] | None = None,
    **options: Any,
) -> Generator:
    """A generator of your own: a Python callable, TorchScript, torch.export or ONNX.

    code_size, initial, … file, given: the one input (`InputPlan`); inputs: a table of these keys for each of
    several. output: which of several results (a key or number). output_range: of black and white (default 0
    and 1). image_size_px: that its images must have. Other keys are options of a `python:` callable. It is
    checked by `check_generator` before it is used. Raises BadInput, WeightsMissing, WeightsInvalid.
    """
    every = {
        "code_size": code_size, "initial": initial, "mean": mean, "scale": scale, "covariance": covariance,
        "low": low, "high": high, "truncation": truncation, "file": file, "given": given, "inputs": inputs,
        "output": output, "output_range": output_range, "channels": channels, "layout": layout,
        "image_size_px": image_size_px,
    }  # fmt: skip
    table = {key: value for key, value in every.items() if value is not None}
    try:
        return _checked(_opened(name, table, options))
    except BadInput as error:
        said = str(error)
        if name in said:
            raise
        raise type(error)(f"generator '{name}': {said}") from error.__cause__


def _opened(name: str, table: dict[str, Any], options: dict[str, Any]) -> Generator:
    """The generator behind a name, before it is checked."""
    scheme = name.partition(":")[0]
    if scheme != "python" and options:
        raise BadInput(f"there is no option '{next(iter(options))}'; it takes: {', '.join(_KEYS)}")
    if scheme == "python":
        found, digest = _from_python(name, table, options)
        if not isinstance(found, nn.Module):
            return found
        return _made(name, found, digest, table)
    path = existing(name, "generator")
    if scheme == "onnx":
        program = OnnxProgram(path, _plans(table), table.get("output"))
        return _made(name, program, program.digest, table)
    module = own.module_in(path, "generator")
    return _made(name, module, hashlib.sha256(path.read_bytes()).hexdigest(), table)


def _from_python(
    name: str, table: Mapping[str, Any], options: dict[str, Any]
) -> tuple[nn.Module | Generator, str]:
    """What a callable makes, or is: a module of codes, or a generator that describes itself; and what its
    images depend on, as SHA-256."""
    found = own.imported(name, "generator")
    if isinstance(found, nn.Module):
        _no_options(options, {})
        return found.eval(), networks.fingerprint(found)
    known = options_of(found, named=False)
    passed = {**options, **{key: value for key, value in table.items() if key in known}}
    anything = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(found).parameters.values())
    if not anything:
        _no_options(passed, known)
    for key in passed.keys() & known.keys():
        try:
            passed[key] = known[key].checked(passed[key])
        except ValueError as error:
            raise BadInput(str(error)) from None
    needed = [one for one in own.to_fill(found, name) if one not in passed]
    count = len(table["inputs"]) if "inputs" in table else 1
    if not needed:
        made = own.called(found, name, **passed)
    elif len(needed) == count:  # it is itself what makes images of codes
        made = functools.partial(found, **passed)
    else:
        raise BadInput(
            f"'{name}' needs the parameter {needed[0]} ({', '.join(needed)} are not given, and it has "
            f"{count} {'input' if count == 1 else 'inputs'}); give it in [generator] as an option, or "
            "declare inputs"
        )
    if isinstance(made, nn.Module):
        digest = networks.fingerprint(made) + _source_digest(type(made))
        return made.eval(), hashlib.sha256(digest.encode()).hexdigest()
    if hasattr(made, "initial") and hasattr(made, "centre") and callable(made):
        if extra := [key for key in table if key not in known]:
            raise BadInput(
                f"'{name}' returns a generator that describes itself; leave out {', '.join(sorted(extra))}"
            )
        return cast(Generator, made), ""
    if not callable(made):
        raise BadInput(
            f"'{name}' returned a {type(made).__name__}; return a torch.nn.Module, a callable from codes to "
            "images, or a generator"
        )
    return Program(made), _source_digest(found)


def _no_options(options: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for key in options:
        if key not in known:
            raise BadInput(
                f"there is no option '{key}'; the callable takes: {', '.join(known) or 'none'}; the table of "
                f"a generator of your own: {', '.join(_KEYS)}"
            )


def _source_digest(function: Any) -> str:
    """Of the source of a function or class, where there is one."""
    try:
        return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()
    except (OSError, TypeError):
        return ""


def _plans(table: Mapping[str, Any]) -> list[InputPlan]:
    """The inputs that the table declares. Raises BadInput."""
    single = {key: table[key] for key in INPUT_KEYS if key in table}
    if "inputs" not in table:
        if "code_size" not in single:
            raise BadInput(
                "how many numbers are its codes? give code_size (a number, or the shape of a code), or inputs"
            )
        return [InputPlan.make(**single)]
    if single:
        raise BadInput(f"inputs and {', '.join(single)} are both given; write {next(iter(single))} in inputs")
    plans = parsed(table["inputs"])
    if not any(one.size for one in plans):
        raise BadInput("no input gets a part of the code; give one a code_size")
    return plans


def _made(name: str, module: nn.Module, digest: str, table: Mapping[str, Any]) -> Own:
    plans = module.plans if isinstance(module, OnnxProgram) else _plans(table)
    inputs = tuple(opened(plan, number) for number, plan in enumerate(plans))
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    drawn = [one.initial for one in inputs if one.initial is not None]
    initial = drawn[0] if len(drawn) == 1 else JoinedCodes(drawn)
    coded = [one for one in inputs if one.initial is not None]
    bounds = [one.bounds for one in coded if one.bounds is not None]
    if bounds and len(bounds) < len(coded):
        raise BadInput("low and high are given for some inputs only; give them for all, or for none")
    whole = hashlib.sha256(" ".join([digest, *(one.digest for one in inputs)]).encode()).hexdigest()
    made = Own(
        name=name,
        code_shape=coded[0].plan.shape if len(coded) == 1 else (sum(one.plan.size for one in coded),),
        image_size_px=0,
        module=module,
        inputs=inputs,
        output=Output.of(table, picks=not isinstance(module, OnnxProgram)),
        initial=initial,
        centre=initial.mean.clone(),
        bounds=(torch.cat([low for low, _ in bounds]), torch.cat([high for _, high in bounds]))
        if bounds
        else None,
        fingerprint=whole,
    )
    return _tried(made, table.get("image_size_px"))


def _tried(made: Own, wanted_px: int | None) -> Own:
    """With the size that its images have, and whether it has gradients. Raises BadInput."""
    codes = made.initial.draw(torch.zeros(1, dtype=torch.int64), TRIAL)[0]
    try:
        with torch.inference_mode():
            raw = made.raw(codes)
    except Exception as error:  # the user's own program
        shapes = ", ".join(_shape(one.prepared(part)) for one, part in made.parts(codes))
        raise BadInput(
            f"it failed when it was given {shapes}: {one_line(error)}; check code_size, and declare inputs "
            "where it takes several"
        ) from error
    size_px, warnings = made.output.examined(raw, TRIAL)
    if wanted_px is not None and wanted_px != size_px:
        raise BadInput(f"its images are of {size_px} px; image_size_px asks for {wanted_px}")
    made = replace(made, image_size_px=size_px, warnings=warnings)
    return replace(made, differentiable=_has_gradients(made, codes[:1]))


def _shape(tensor: torch.Tensor) -> str:
    kind = str(tensor.dtype).removeprefix("torch.")
    return f"{tuple(tensor.shape)} {kind}" if tensor.ndim else f"the number {tensor.item():g}"


def _has_gradients(made: Own, codes: Codes) -> bool:
    try:
        leaf = codes.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(made(leaf).sum(), leaf)
        return bool(gradient.isfinite().all())
    except Exception:  # nothing that a gradient can go through, or a file without it
        return False


def _checked(made: Generator) -> Generator:
    """Raises BadInput with the sentence of `check_generator`."""
    try:
        check_generator(made)
    except AssertionError as error:
        raise BadInput(str(error)) from None
    except (AttributeError, TypeError) as error:  # an object that is no generator after all
        raise BadInput(f"it is no generator: {one_line(error)}") from error
    return made


#: The keys of the table.
_KEYS = tuple(
    key for key, one in inspect.signature(generator).parameters.items() if one.kind is one.KEYWORD_ONLY
)

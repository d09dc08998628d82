"""Names and the factories behind them. An unknown name lists the near ones."""

from __future__ import annotations

import ast
import contextlib
import difflib
import fnmatch
import importlib.metadata
import importlib.util
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from xdream import files
from xdream.errors import BadInput, UnknownName
from xdream.options import Option, options_of

Part = TypeVar("Part")
Declaring = TypeVar("Declaring", bound=Callable[..., Any])

#: So few names are all listed.
FEW = 5


def nearest(name: str, known: list[str], most: int = FEW) -> str:
    """The known names nearest to `name`, or all of them when they are few, as one phrase."""
    near = known if len(known) <= most else difflib.get_close_matches(name, known, most, cutoff=0.4)
    return ", ".join(near or [*known[:most], "…"])


def declares(**facts: Any) -> Callable[[Declaring], Declaring]:
    """A decorator: what a factory says of its part besides its options. Read by `Registry.declared`.

    Which facts are asked for is said where the kind of part is described (`xdream.generators.base`,
    `xdream.optimizers.ask_tell`, `xdream.subjects.base`).
    """

    def marked(factory: Declaring) -> Declaring:
        setattr(factory, _DECLARED, {**getattr(factory, _DECLARED, {}), **facts})
        return factory

    return marked


_DECLARED = "__xdream_declares__"


def _fits(name: str, form: str) -> bool:
    """Whether a name is of a form; the ending of a file (`*.safetensors`) in letters of either case."""
    of_ending = form.startswith("*")
    return fnmatch.fnmatchcase(name.lower() if of_ending else name, form)


class Registry(Generic[Part]):
    """Factories by name, of one `kind` of part.

    Every part, XDream's own included, is an entry point of the group `xdream.KINDs` (for example
    `xdream.generators`) of the package that it comes with. Names are known without importing anything; a
    part is imported when it is asked for. A name with a `*` stands for all names of that form (a file, say):
    its factory is given the name first. A factory declares its options by the types of its parameters; one
    of type `Path` names a file or a folder.
    """

    def __init__(
        self,
        kind: str,
        *,
        plural: str = "",
        entry_points: bool = True,
        others: Callable[[str], Callable[..., Part] | None] = lambda name: None,
    ) -> None:
        """plural: of the kind, where it is not `kind` with an s. entry_points: False for parts of XDream's
        own only. others: the factory of a name that is neither known nor of a known form, or None."""
        self.kind = kind
        self._plural = plural or f"{kind}s"
        self._others = others
        self._with_entry_points = entry_points
        self._factories: dict[str, Callable[..., Part]] = {}
        self._entries: dict[str, importlib.metadata.EntryPoint] | None = None
        self._options: dict[str, tuple[Callable[..., Part], dict[str, Option]]] = {}

    def register(self, name: str, factory: Callable[..., Part]) -> None:
        """Add a factory under a new name, for this process."""
        if name in self._known():
            raise BadInput(f"{self.kind} '{name}' is registered already; choose another name")
        self._factories[name] = factory

    def names(self) -> list[str]:
        """All names, in alphabetical order, without forms."""
        return sorted(name for name in self._known() if "*" not in name)

    def forms(self) -> list[str]:
        """The forms, like `caffe:*`, of names that stand for themselves."""
        return sorted(name for name in self._known() if "*" in name)

    def has(self, name: str) -> bool:
        """Whether a name is known, or of a known form."""
        return self._entry(name) is not None

    def from_elsewhere(self) -> dict[str, str]:
        """The names and forms that other packages bring, with the package of each."""
        brought = {name: entry.dist.name for name, entry in self._entry_points().items() if entry.dist}
        return {name: package for name, package in brought.items() if package != "xdream"}

    def summary(self, name: str) -> str:
        """The first sentence of the docstring of a part; its module is read, not run. "" without one."""
        known = self._entry(name)
        if known is None or known in self._factories:
            text = inspect.getdoc(self.factory(name)) or ""
        else:
            text = _docstring(self._entry_points()[known])
        return " ".join(text.partition("\n\n")[0].split()).partition(". ")[0].rstrip(".")

    def factory(self, name: str) -> Callable[..., Part]:
        """The factory behind a name. Raises UnknownName; BadInput for a part that cannot be imported."""
        known = self._entry(name)
        if known is None:
            other = self._others(name)
            if other is not None:
                return other
            names = self.names()
            if not names:  # XDream's own parts are entry points, too
                raise UnknownName(
                    f"unknown {self.kind} '{name}': none is registered, so XDream is installed in part only; "
                    "install it again (pip install)"
                )
            if len(names) <= FEW:
                raise UnknownName(f"unknown {self.kind} '{name}'; known: {', '.join(names)}")
            near = nearest(name, names)
            raise UnknownName(f"unknown {self.kind} '{name}'; near: {near} (all: xdream list {self._plural})")
        if known not in self._factories:
            self._factories[known] = self._loaded(known)
        return self._factories[known]

    def options(self, name: str) -> Mapping[str, Option]:
        """What the factory behind a name takes, by name. Raises UnknownName."""
        known, factory = self._entry(name) or name, self.factory(name)
        kept = self._options.get(known)
        if kept is None or kept[0] is not factory:
            kept = self._options[known] = (factory, options_of(factory, named="*" in known))
        return kept[1]

    def declared(self, name: str, fact: str, otherwise: Any = None) -> Any:
        """What the factory behind a name declares under `fact` (see `declares`). Raises UnknownName.

        Where the source says it in a literal, its module is not imported.
        """
        known = self._entry(name)
        if known is not None and known not in self._factories:
            with contextlib.suppress(LookupError):
                return _said(self._entry_points()[known], fact, otherwise)
        return getattr(self.factory(name), _DECLARED, {}).get(fact, otherwise)

    def described(self, name: str) -> str:
        """A part in a few lines for the reader: its name and first sentence, then an option on each line."""
        options = [f"  {one}" for one in self.options(name).values()]
        return "\n".join([f"{name}: {self.summary(name)}", *(options or ["  no options"])])

    def absolute(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Options with absolute paths, to be used from anywhere. Raises UnknownName."""
        known = self.options(name)
        return {
            key: files.absolute(value)
            if key in known and known[key].is_path and isinstance(value, str | Path) and value != ""
            else value
            for key, value in options.items()
        }

    def filled(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Options with the defaults of those that are left out, as far as a plan can hold them.

        What is kept so stays what it was when a default changes. Raises UnknownName.
        """
        known = self.options(name).values()
        plain = {one.name: one.default for one in known if isinstance(one.default, bool | int | float | str)}
        return plain | dict(options)

    def make(self, name: str, **options: Any) -> Part:
        """Call the factory behind `name`.

        Raises BadInput for an option that it does not take, or of another type; UnknownName.
        """
        factory = self.factory(name)
        known = self.options(name)
        anything = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(factory).parameters.values())
        values = dict(options)
        for option in options:
            if option in known:
                try:
                    values[option] = known[option].checked(options[option])
                except ValueError as error:
                    raise BadInput(f"{self.kind} '{name}': {error}") from None
            elif not anything:
                raise BadInput(
                    f"{self.kind} '{name}' has no option '{option}'; it takes: {', '.join(known) or 'none'}"
                )
        missing = [key for key, one in known.items() if one.needed and key not in options]
        if missing:
            raise BadInput(f"{self.kind} '{name}' needs the option {missing[0]}")
        first = (name,) if self._entry(name) not in (name, None) else ()
        try:
            return factory(*first, **values)
        except TypeError as error:  # of options whose types a factory does not declare
            given = ", ".join(f"{key} = {value!r}" for key, value in options.items())
            raise BadInput(f"{self.kind} '{name}' cannot be made with {given}: {error}") from error

    # ------------------------------------------------------------------ where they come from

    def _known(self) -> set[str]:
        return {*self._factories, *self._entry_points()}

    def _entry(self, name: str) -> str | None:
        """The name, or the form, under which a name is known."""
        known = self._known()
        if name in known and "*" not in name:
            return name
        forms = (form for form in known if "*" in form and _fits(name, form))
        return max(forms, key=len, default=None)

    def _entry_points(self) -> dict[str, importlib.metadata.EntryPoint]:
        if self._entries is None:
            group = f"xdream.{self._plural}"
            found: dict[str, importlib.metadata.EntryPoint] = {}
            for entry in importlib.metadata.entry_points(group=group) if self._with_entry_points else ():
                known = found.setdefault(entry.name, entry)
                if known.value != entry.value:
                    raise BadInput(
                        f"two packages bring a {self.kind} '{entry.name}': {known.value} and {entry.value}; "
                        "uninstall one of them"
                    )
            self._entries = found  # whole, or asked for again
        return self._entries

    def _loaded(self, name: str) -> Callable[..., Part]:
        entry = self._entry_points()[name]
        try:
            loaded: Callable[..., Part] = entry.load()
        except ModuleNotFoundError as error:
            raise BadInput(
                f"{self.kind} '{name}' needs the module '{error.name}', which is not installed; "
                f"{_remedy(entry)}"
            ) from error
        except Exception as error:  # the code of another package raises whatever it likes
            package = entry.dist.name if entry.dist is not None else "?"
            raise BadInput(
                f"{self.kind} '{name}' of the package {package} cannot be imported: "
                f"{type(error).__name__}: {error}"
            ) from error
        return loaded


def _source(module: str) -> ast.Module | None:
    """A module's source, read and not run; None where there is none."""
    try:
        spec = importlib.util.find_spec(module)
    except Exception:  # the package around it is imported: it is gone, or raises whatever it likes
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return ast.parse(Path(spec.origin).read_text("utf-8"))


def _docstring(entry: importlib.metadata.EntryPoint) -> str:
    """Of the function or class that an entry point names, else of its module."""
    tree = _source(entry.module)
    for node in [] if tree is None else tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == entry.attr:
            return ast.get_docstring(node) or ""
    return "" if tree is None else ast.get_docstring(tree) or ""


def _said(entry: importlib.metadata.EntryPoint, fact: str, otherwise: Any) -> Any:
    """What the function of an entry point declares. Raises LookupError where its source does not say it."""
    tree = _source(entry.module)
    nodes = [] if tree is None else [node for node in tree.body if entry.attr in _binds(node)]
    if len(nodes) != 1 or not isinstance(nodes[0], ast.FunctionDef):
        raise LookupError(fact)
    facts: dict[str | None, ast.expr] = {}
    for one in reversed(nodes[0].decorator_list):  # the outer one is the last to declare
        if not (isinstance(one, ast.Call) and getattr(one.func, "id", "") == declares.__name__):
            raise LookupError(fact)
        facts |= {word.arg: word.value for word in one.keywords}
    if None in facts:  # **others
        raise LookupError(fact)
    try:
        return ast.literal_eval(facts[fact]) if fact in facts else otherwise
    except ValueError:
        raise LookupError(fact) from None


def _binds(node: ast.stmt) -> list[str]:
    """The names that a statement gives a meaning."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        return [node.name]
    return [one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)]


def _remedy(entry: importlib.metadata.EntryPoint) -> str:
    """What to install: a module says it in a constant, `NEEDS = "pip install 'mine[extra]'"`."""
    tree = _source(entry.module)
    for node in [] if tree is None else tree.body:
        if isinstance(node, ast.Assign) and [getattr(one, "id", "") for one in node.targets] == ["NEEDS"]:
            return str(ast.literal_eval(node.value))
    return "install it beside XDream"

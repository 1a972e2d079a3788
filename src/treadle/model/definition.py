"""The graph as a value: the components in the order of adding, and the program compiled from them.

Adding shares the list of components with the definition it came from, and takes its program over, so that a
graph of n components is built in O(n) by n single adds. A definition whose program was taken compiles a new
one if it is asked again.
"""

from __future__ import annotations

from collections.abc import Iterable

from treadle.model.events import Defined
from treadle.model.fingerprints import REACHING, fingerprint, scheme_of
from treadle.model.nodes import ComponentShape, Lowered
from treadle.model.program import Program, compile_program


class Definition:
    """A name, components, and what to retain. Immutable to whoever holds it."""

    __slots__ = (
        "_defined",
        "_length",
        "_lowered",
        "_right_to_append",
        "_slot",
        "name",
        "retain",
    )

    def __init__(
        self,
        name: str,
        retain: str | int,
        lowered: list[Lowered],
        length: int,
        program: Program | None = None,
    ) -> None:
        self.name = name
        self.retain = retain
        self._lowered = lowered
        self._length = length
        self._slot: list[Program] = [] if program is None else [program]
        """Holds the program when nobody is at work on it; `pop` is the claim, atomic among threads."""
        self._right_to_append = [True]
        """Only the first to go on from here may append to the list that both then share."""
        self._defined: Defined | None = None

    def components(self) -> list[Lowered]:
        """The lowered components, in the order of adding."""
        return self._lowered[: self._length]

    def __len__(self) -> int:
        return self._length

    def _claim(self) -> Program:
        try:
            return self._slot.pop()
        except IndexError:
            return compile_program(self.components())

    def program(self, *, seal: bool = False) -> Program:
        """The compiled program, to read; `seal` it when a run starts from it."""
        program = self._claim()
        if seal:
            program.settle()
            program.sealed = True
        self._slot[:] = [program]
        return program

    def extended(self, lowered: Lowered) -> Definition:
        """This definition with one more component; raises and changes nothing if it does not fit."""
        try:
            right = self._right_to_append.pop()
        except IndexError:  # somebody went on from here already: this is a branch of its own
            return self._branched(lowered)
        program = self._claim()
        if program.sealed:
            self._slot[:] = [program]
            self._right_to_append.append(right)
            return self._branched(lowered)
        try:
            program.add(lowered)
        except BaseException:
            self._slot[:] = [program]
            self._right_to_append.append(right)
            raise
        self._lowered.append(lowered)
        return Definition(self.name, self.retain, self._lowered, self._length + 1, program)

    def _branched(self, lowered: Lowered) -> Definition:
        components = self.components()
        program = compile_program(components)
        program.add(lowered)
        return Definition(self.name, self.retain, [*components, lowered], self._length + 1, program)

    def with_components(self, components: Iterable[Lowered]) -> Definition:
        """A definition of the same name with other components; compiled at once, so that it is checked."""
        listed = list(components)
        program = compile_program(listed)
        return Definition(self.name, self.retain, listed, len(listed), program)

    def following(self, components: list[Lowered]) -> Definition:
        """The definition of a run that was edited under way; its memory keeps the program to itself."""
        return Definition(self.name, self.retain, components, len(components))

    def shapes(self) -> tuple[ComponentShape, ...]:
        """The graph as data, with the fingerprint of each component."""
        return tuple(shape_of(lowered) for lowered in self.components())

    def defined(self, run_key: str | None) -> Defined:
        """The first event of every log of this definition; computed when first asked for."""
        if self._defined is None:
            shapes = self.shapes()
            digest = digest_of(shapes, scheme_in(shapes))
            self._defined = Defined(0, self.name, shapes, self.retain, digest)
        defined = self._defined
        if run_key is None:
            return defined
        return Defined(0, self.name, defined.components, self.retain, defined.fingerprint, run_key)

    def fingerprint_like(self, recorded: str) -> str:
        """The fingerprint by the scheme of another one, to be compared with it."""
        scheme = scheme_of(recorded)
        if scheme == REACHING:
            return self.defined(None).fingerprint
        return digest_of([shape_of(each, recorded) for each in self.components()], scheme)


def scheme_in(shapes: Iterable[ComponentShape]) -> int:
    """The scheme of a graph: an earlier one where its log speaks of no other."""
    marks = {scheme_of(shape.fingerprint) for shape in shapes}
    return marks.pop() if len(marks) == 1 else REACHING


def digest_of(shapes: Iterable[ComponentShape], scheme: int = REACHING) -> str:
    """The fingerprint of a graph, made of those of its components."""
    told = [(s.name, s.sources, str(s.join), s.correlate, s.fingerprint) for s in shapes]
    return fingerprint(told, scheme)


def shape_of(lowered: Lowered, like: str = "") -> ComponentShape:
    """A component's shape with its fingerprint; `like`: by the scheme of this one, to be compared with it."""
    component, recorded = lowered.component, lowered.recorded
    if component is None or (recorded and (not like or scheme_of(recorded) == scheme_of(like))):
        return lowered.shape(recorded)
    if like and scheme_of(like) != REACHING:
        return lowered.shape(component.fingerprint_by(scheme_of(like)))
    return lowered.shape(component.fingerprint)

"""Which policy a component gets: rules of (matcher, policy), of which the first that matches wins.

A matcher is a name or glob (`"charge"`, `"notify_*"`), a component, a compiled regular expression, a component type,
`of_kind("map")`, a predicate of a `Subject`, or `DEFAULT`. Rules given at run time come before those of the workflow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final, TypeAlias

from msgspec import Struct

from treadle.errors import UsageError
from treadle.policies.policy import Policy, policy_from

DEFAULT: Final = "*"
"""Matches every component."""

NO_POLICY: Final = Policy()

Wishes: TypeAlias = Policy | dict[str, Any]
"""A policy, or some fields of one."""

Rules: TypeAlias = "Policies | Policy | Mapping[Any, Wishes] | Iterable[tuple[Any, Wishes]]"


class Subject(Struct, frozen=True):
    """What a predicate is asked about: a component's name and kind, its node's part, and itself."""

    name: str
    kind: str
    part: str | None = None
    component: Any = None


class Kind(Struct, frozen=True):
    """Matches components of one kind."""

    kinds: tuple[str, ...]


def of_kind(*kinds: str) -> Kind:
    """A matcher for components of some kinds: `of_kind("step", "map")`."""
    return Kind(kinds)


class Policies:
    """Rules in order; immutable."""

    __slots__ = ("is_alone", "rules")

    def __init__(self, rules: Iterable[tuple[Any, Policy]] = (), *, is_alone: bool = False) -> None:
        self.rules = tuple(rules)
        self.is_alone = is_alone
        """Nothing below counts: these replace the workflow's rules rather than come before them."""

    def __bool__(self) -> bool:
        return bool(self.rules)

    def __repr__(self) -> str:
        return f"<Policies {', '.join(repr(matcher) for matcher, _ in self.rules)}>"

    def over(self, below: Policies) -> Policies:
        """These rules first, then those below."""
        if self.is_alone or below is NO_POLICIES:
            return self
        return Policies((*self.rules, *below.rules), is_alone=below.is_alone)

    def find(self, subject: Subject) -> Policy:
        """The policy of the first rule that matches, else the default one."""
        for matcher, policy in self.rules:
            if _asked(matcher, subject):
                return policy
        return NO_POLICY


NO_POLICIES: Final = Policies()


def policies_from(rules: Any) -> Policies:
    """Rules as users write them: a dict or pairs of matcher and policy, or one policy for all.

    Errors: `UsageError` for a matcher or policy that is none.
    """
    if rules is None:
        return NO_POLICIES
    if isinstance(rules, Policies):
        return rules
    if isinstance(rules, Policy):
        return Policies([(DEFAULT, rules)])
    pairs = list(rules.items()) if isinstance(rules, Mapping) else _listed(rules)
    return Policies([(matcher_from(matcher), policy_from(policy)) for matcher, policy in pairs])


def only(rules: Any) -> Policies:
    """Run-time rules that replace those of the workflow instead of coming before them."""
    return Policies(policies_from(rules).rules, is_alone=True)


def _listed(rules: Any) -> list[tuple[Any, Any]]:
    try:
        return [(matcher, policy) for matcher, policy in rules]
    except (TypeError, ValueError):
        raise UsageError(
            f"policies={rules!r:.80} is neither a dict nor a list of (matcher, policy).",
            hint='policies={"charge": td.Policy(max_retries=3)}',
        ) from None


def matcher_from(matcher: Any) -> Any:
    """A matcher, a component's name for itself; one of another form would match nothing, and nobody would know."""
    if getattr(type(matcher), "is_treadle_component", False):  # which is callable, but no predicate
        return matcher.name
    if isinstance(matcher, re.Pattern):
        is_known = isinstance(matcher.pattern, str)
    else:
        is_known = isinstance(matcher, (str, type, Kind)) or callable(matcher)
    if is_known:
        return matcher
    raise UsageError(
        f"{matcher!r:.80} matches no component: it is no name, glob, regex, type, kind or predicate."
    )


def _asked(matcher: Any, subject: Subject) -> bool:
    """`matches`, naming the rule if a predicate of the user's raises."""
    try:
        return matches(matcher, subject)
    except Exception as error:
        raise UsageError(
            f"the matcher {matcher!r:.80} of a policy raised {type(error).__name__} for {subject.name!r}: {error}",
            hint="a predicate takes a Subject (name, kind, part, component) and gives a truth.",
        ) from error


def matches(matcher: Any, subject: Subject) -> bool:
    """Whether a matcher means this component."""
    if isinstance(matcher, str):
        return matcher == subject.name or fnmatchcase(subject.name, matcher)
    if isinstance(matcher, re.Pattern):
        return matcher.search(subject.name) is not None
    if isinstance(matcher, type):
        return isinstance(subject.component, matcher)
    if isinstance(matcher, Kind):
        return subject.kind in matcher.kinds
    predicate: Callable[[Subject], Any] = matcher
    return bool(predicate(subject))

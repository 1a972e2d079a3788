"""What is wished of each node of one graph: its policy, where it runs, on which terms.

Shared by all runs of the graph that nobody edited.
"""

from __future__ import annotations

from typing import Final

from treadle.engine.chains import chain_links
from treadle.model import nodes as kinds
from treadle.model.bundles import Link
from treadle.model.fingerprints import fingerprint
from treadle.model.markers import TRANSACTION
from treadle.model.program import ALL, DIRECT, Node, Program
from treadle.model.runnables import Runnable
from treadle.policies.matching import Policies, Subject
from treadle.policies.policy import AT_MOST_ONCE, Cache, Limit, Policy
from treadle.runner.stimuli import CacheTerms, Terms

INLINE: Final = "inline"
ASYNCIO: Final = "asyncio"
NO_LIMIT: Final = 1_000_000_000
TRANSACTIONS: Final = "transactions"
"""The executor of steps that write to the store's own database."""


class Places:
    """Which executors a runner has: their room, who is the default, who can keep values, who can await."""

    __slots__ = ("capacities", "default", "keepers", "remote")

    def __init__(
        self,
        default: str,
        capacities: dict[str, int | None],
        keepers: frozenset[str] = frozenset(),
        remote: frozenset[str] = frozenset(),
    ) -> None:
        self.default = default
        self.capacities = capacities
        self.keepers = keepers
        """Executors where values may stay."""
        self.remote = remote
        """Executors that run async functions in another process, on an event loop of their own."""

    def add(self, name: str, capacity: int | None, *, keeps: bool, is_remote: bool) -> None:
        """One more executor."""
        self.capacities[name] = capacity
        if keeps:
            self.keepers |= {name}
        if is_remote:
            self.remote |= {name}


class Wishes:
    """The answers for one graph under one set of policies, each computed once."""

    __slots__ = (
        "_answers",
        "_chains",
        "_drives",
        "_has_ranks",
        "_held",
        "_keeps",
        "_may_bundle",
        "_policies_of",
        "_terms",
        "_tries",
        "are_seen",
        "places",
        "policies",
        "program",
        "workflow",
    )

    def __init__(
        self,
        workflow: str,
        program: Program,
        policies: Policies,
        places: Places,
        *,
        are_seen: bool,
    ) -> None:
        self.workflow = workflow
        self.program = program
        self.policies = policies
        self.places = places
        self.are_seen = are_seen
        """Somebody must see each piece of work before it is executed (a scheduler, a hook), so none is done in line."""
        self._policies_of: dict[str, Policy] = {}
        self._terms: dict[str, Terms] = {}
        self._answers: dict[str, tuple[Policy, Terms, bool]] = {}
        self._chains: dict[str, tuple[Link, ...]] = {}
        self._keeps: dict[str, bool] = {}
        self._may_bundle: dict[str, bool] = {}
        self._held: frozenset[str] | None = None
        self._drives = False
        self._has_ranks = False
        self._tries: dict[str, bool] = {}

    def policy(self, key: str) -> Policy:
        """The policy of a node's component."""
        found = self._policies_of.get(key)
        if found is None:
            found = self._policies_of[key] = self.policies.find(self.subject(key))
        return found

    def answers(self, key: str) -> tuple[Policy, Terms, bool]:
        """The policy of a node's component, on which terms its work may start, and whether anything is noted then.

        That is a moment when its time is over, or that an attempt begins which must not begin twice.
        """
        found = self._answers.get(key)
        if found is None:
            policy = self.policy(key)
            is_timed = policy.deadline_s is not None or policy.timeout_s is not None
            is_noted = is_timed or policy.effects == AT_MOST_ONCE
            found = self._answers[key] = (policy, self.terms(key), is_noted)
        return found

    def subject(self, key: str) -> Subject:
        """What matchers are asked about."""
        node = self.program.by_key[key]
        lowered = self.program.components[node.component]
        return Subject(node.component, lowered.kind, node.part, lowered.component)

    def executor(self, key: str, policy: Policy) -> str:
        """The name of the executor that a node's work goes to.

        An async function is awaited on the runner's own loop, unless its policy names a place where it gets
        another one.
        """
        node = self.program.by_key[key]
        if TRANSACTIONS in self.places.capacities and is_transactional(node):
            return TRANSACTIONS
        return self.executor_for(is_async=node.is_async, wanted=policy.executor)

    def executor_for(self, *, is_async: bool, wanted: str | None) -> str:
        """Where a function of this kind goes, if this executor is wanted of it."""
        if is_async:
            return wanted if wanted is not None and wanted in self.places.remote else ASYNCIO
        return wanted or self.places.default

    def terms(self, key: str) -> Terms:
        """On which terms a node's work may start."""
        found = self._terms.get(key)
        if found is None:
            found = self._terms[key] = self.terms_under(key, self.policy(key))
        return found

    def terms_under(self, key: str, policy: Policy) -> Terms:
        """On which terms a node's work may start, under a policy that an input brought along."""
        component = self.program.by_key[key].component
        own = f"{self.workflow}/{component}"
        limit = policy.max_concurrency
        if isinstance(limit, int):
            limit = Limit(limit)
        rate, breaker = policy.rate_limit, policy.circuit_breaker
        cache = self._cache_terms(key, policy.cache, own) if policy.cache is not None else None
        return Terms(
            self.executor(key, policy),
            policy.rank,
            () if limit is None else ((limit.key or own, limit.count),),
            () if rate is None else ((rate.key or own, rate),),
            () if breaker is None else ((breaker.key or own, breaker),),
            is_free=limit is None and rate is None and breaker is None and cache is None,
            timeout_s=policy.timeout_s,
            cache=cache,
        )

    def _cache_terms(self, key: str, cache: Cache, own: str) -> CacheTerms | None:
        """Where what a node gives is kept; None for what depends on more than its inputs: state, and transactions."""
        node = self.program.by_key[key]
        if node.kind != kinds.STEP or is_transactional(node):
            return None
        component = self.program.components[node.component].component
        code = fingerprint([node.part, *component.parts()])
        return CacheTerms(own, code, cache.extras, cache.ttl_s)

    def strict(self) -> str | None:
        """A component whose work has effects that are tied to the log: a transaction, or at most one attempt."""
        for key, node in self.program.by_key.items():
            if node.call is not None and (
                is_transactional(node) or self.policy(key).effects == AT_MOST_ONCE
            ):
                return node.component
        return None

    def held(self) -> frozenset[str]:
        """The nodes whose work must not be executed in line."""
        if self._held is None:
            self._sort_out()
        return self._held or frozenset()

    def tries(self) -> dict[str, bool]:
        """The nodes that have a say after a failure: whether that may halt the input."""
        if self._held is None:
            self._sort_out()
        return self._tries

    def _sort_out(self) -> None:
        held: set[str] = set()
        tries: dict[str, bool] = {}
        nodes = self.program.by_key
        # not the raw input, nor gates, which planning decides
        keys = [key for key, node in nodes.items() if node.call is not None]
        for key in keys:
            policy = self.policy(key)
            if not policy.is_final:
                tries[key] = (policy.on_failure or nodes[key].shape.on_failure) == "halt"
            self._has_ranks = self._has_ranks or policy.rank != 0
            in_line = self.executor(key, policy) == INLINE and not nodes[key].is_async
            if self.are_seen or not in_line or not policy.is_plain:
                held.add(key)
        if len({self.policy(key).rank for key in keys}) > 1:
            held.update(keys)  # what is executed in line is executed in the order of its coming
        self._drives = len(held) < len(keys)
        self._tries = tries
        self._held = frozenset(held)

    @property
    def drives(self) -> bool:
        """Whether any work at all may be executed in line."""
        if self._held is None:
            self._sort_out()
        return self._drives

    @property
    def has_ranks(self) -> bool:
        """Whether the policies put some work before other work."""
        if self._held is None:
            self._sort_out()
        return self._has_ranks

    def may_bundle(self, key: str) -> bool:
        """Whether a node's work may share a slot: nothing is asked of its single attempts."""
        found = self._may_bundle.get(key)
        if found is None:
            node = self.program.by_key[key]
            is_alone = node.code.missing or is_transactional(node)
            found = self._may_bundle[key] = self.policy(key).is_plain and not is_alone
        return found

    def chain_after(self, runnable: Runnable) -> tuple[Link, ...]:
        """The steps that may be bundled behind a runnable."""
        key = runnable.node
        found = self._chains.get(key)
        if found is None:
            found = self._chains[key] = self._chain(key)
        return found

    def _chain(self, key: str) -> tuple[Link, ...]:
        if key not in self.program.by_key or not self.may_bundle(key):
            return ()
        executor = self.terms(key).executor

        def may_follow(node: Node) -> bool:
            return self.may_bundle(node.key) and self.terms(node.key).executor == executor

        return chain_links(self.program, key, may_follow)

    def keeps(self, key: str) -> bool:
        """Whether what a node gives may stay in its cluster: only plain steps there will take it."""
        found = self._keeps.get(key)
        if found is None:
            found = self._keeps[key] = self._may_keep(self.program.by_key[key])
        return found

    def _may_keep(self, node: Node) -> bool:
        executor = self.terms(node.key).executor
        if executor not in self.places.keepers or node.kind != kinds.STEP:
            return False
        if not node.children or node.watchers or node.tracked or node.error_children:
            return False
        return all(
            child.kind == kinds.STEP
            and child.arrival in (DIRECT, ALL)
            and not child.error_children
            and self.terms(child.key).executor == executor
            for child, _ in node.children
        )

    def capacity(self, executor: str) -> int:
        """How many bundles an executor takes at once."""
        return self.places.capacities.get(executor) or NO_LIMIT


def is_transactional(node: Node) -> bool:
    """Whether a node's function asks for a transaction."""
    return any(marker.kind == TRANSACTION for _, marker in node.code.injected)

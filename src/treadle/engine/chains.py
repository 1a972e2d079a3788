"""Find what will follow a piece of work in sequence, so that one worker can run all of it without a workflow.

A chain is a promise about the graph, not about one value: each link takes just what the one before it gives, in the
same scope, and nobody is asked anything in between. So the outcomes of a chain, applied one after the other, do what
dispatching its links singly would have done, in that order.
"""

from __future__ import annotations

from collections.abc import Callable

from treadle.engine.memory import Memory
from treadle.model import nodes as kinds
from treadle.model.bundles import Link
from treadle.model.program import DIRECT, Node, Program


def chain_links(
    graph: Program | Memory, node_key: str, may_follow: Callable[[Node], bool]
) -> tuple[Link, ...]:
    """The plain steps that will follow the work of a node in sequence, if it succeeds; `()` where there is none.

    `may_follow(node)` is asked of each in turn; the first that may not ends the chain.
    """
    program = graph.program if isinstance(graph, Memory) else graph
    links: list[Link] = []
    node = program.by_key.get(node_key)
    while node is not None:
        node = follower(node)
        if node is None or node.call is None or not may_follow(node):
            break
        links.append(
            Link(
                component=node.component,
                node=node.key,
                call=node.call,
                is_async=node.is_async,
                generation=node.generation,
            )
        )
    return tuple(links)


def follower(node: Node) -> Node | None:
    """The one step that takes what this node gives, as it is and where it is; None if there is no such step.

    Only steps and reduces have one: a fan-out and a check give something else than their function returns, and
    work that folds into a state must be applied at once, since the next fold waits for it.
    """
    if node.kind not in (kinds.STEP, kinds.REDUCE) or node.watchers or len(node.children) != 1:
        return None
    child, _ = node.children[0]
    takes_it_as_it_is = child.kind == kinds.STEP and child.arrival == DIRECT
    return child if takes_it_as_it_is and not child.code.injected else None

"""Step 1 of the scheduling guide: the loop, in a thread of its own.

    python examples/schedulers/simple.py

`run(workflow, input)` returns at once, with a future of the finished workflow. In the thread, what is ready is
prepared, executed and applied, one after the other, until nothing is ready: every scheduler is a variation of
this loop.

It gives: the caller goes on meanwhile, and whoever waits gets the finished workflow, or the crash. A step that
fails is no crash: it is recorded, see `workflow.failures()`.

It does not give: anything side by side. The time is the sum of all bodies, also of those that could have run
together; an `async def` step is recorded as a failure, since nobody awaits it here.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import treadle as td


def run(workflow: td.Workflow, input: Any) -> Future[td.Workflow]:
    """Feed an input and drive the workflow in a thread; the future gives the finished workflow."""
    # A pool of one, for its future: that carries home what the thread returns or raises. (The guide's process
    # sends its result to itself, so nobody ever gets it.)
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"scheduler-{workflow.name}")
    finished = thread.submit(drive, workflow, input)
    thread.shutdown(wait=False)  # takes no more work; the thread ends when the loop does
    return finished


def drive(workflow: td.Workflow, input: Any) -> td.Workflow:
    """Plan, then prepare, execute and apply until nothing is ready."""
    workflow = workflow.plan_eagerly(input)
    while workflow.is_runnable():
        workflow, runnables = workflow.prepare_for_dispatch()
        for runnable in runnables:
            outcome = td.execute_runnable(runnable)
            # What this makes ready downstream is ready now: the next round prepares it.
            workflow = workflow.apply_runnable(outcome)
    return workflow


def main() -> None:
    """Two orders in one workflow: no two rows of the picture overlap."""
    # Imported here, since only the script has its own folder on the path.
    from orders import LARGE_ORDER, SMALL_ORDER, Chart, order_fulfillment  # type: ignore[import-not-found]

    chart = Chart()
    # Both orders are in flight together: a workflow takes any number of inputs, and never mixes them.
    workflow = order_fulfillment(chart).plan_eagerly(LARGE_ORDER)
    finished = run(workflow, SMALL_ORDER)
    print("The thread works; the main thread is free.\n")

    done = finished.result()
    chart.show("One after the other")
    for number in range(2):
        print(done.results(input=number))


if __name__ == "__main__":
    main()

"""Step 2 of the scheduling guide: one generation at a time, its runnables side by side on threads.

    python examples/schedulers/parallel.py

Only the execute phase changes from step 1. All that is ready is one generation; its bodies run together on a
thread pool; when the last one is back, the outcomes are applied, and what that made ready is the next generation.

It gives: a generation takes as long as its slowest body, not as the sum of them. A task that crashes is the
failure of its own runnable, and of nothing else.

It does not give: the next generation's work before the slowest body of this one is back, however long ago its
own parents were done (step 3 does), nor `async def` steps, which are recorded as failures.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import msgspec

import treadle as td


def run(
    workflow: td.Workflow, input: Any, *, max_workers: int | None = None
) -> Future[td.Workflow]:
    """Feed an input and drive the workflow by generations; the future gives the finished workflow."""
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"scheduler-{workflow.name}")
    finished = thread.submit(drive, workflow, input, max_workers)
    thread.shutdown(wait=False)  # takes no more work; the thread ends when the loop does
    return finished


def drive(workflow: td.Workflow, input: Any, max_workers: int | None) -> td.Workflow:
    """Plan, then prepare, execute side by side, and apply, until nothing is ready."""
    workflow = workflow.plan_eagerly(input)
    with ThreadPoolExecutor(max_workers, thread_name_prefix=workflow.name) as workers:
        while workflow.is_runnable():
            workflow, runnables = workflow.prepare_for_dispatch()
            tasks = [workers.submit(td.execute_runnable, runnable) for runnable in runnables]
            # Executing touches no workflow, so it needs no lock; applying is this thread's alone. Whichever
            # body ends first, outcomes are applied in the order prepared: the log is the same every time.
            for runnable, task in zip(runnables, tasks, strict=True):
                workflow = workflow.apply_runnable(outcome_of(runnable, task))
    return workflow


def outcome_of(runnable: td.Runnable, task: Future[td.Outcome]) -> td.Outcome:
    """Wait for a task; one that ended without an outcome is a failure of its runnable."""
    # `execute_runnable` answers for every error of a step. What gets past it, such as a KeyboardInterrupt that
    # a body raises, would end the loop here, and the results of all its sisters would be lost.
    crash = task.exception()
    return task.result() if crash is None else crashed(runnable, crash)


def crashed(runnable: td.Runnable, crash: BaseException) -> td.Outcome:
    """The failed outcome of a runnable whose task crashed: executing it with a problem just tells that."""
    problem = RuntimeError(f"the task of {runnable.id} crashed with {type(crash).__name__}")
    problem.__cause__ = crash
    return td.execute_runnable(msgspec.structs.replace(runnable, problem=problem))


def main() -> None:
    """Two orders in one workflow: the picture shows the generations, and the small order waiting."""
    # Imported here, since only the script has its own folder on the path.
    from orders import LARGE_ORDER, SMALL_ORDER, Chart, order_fulfillment  # type: ignore[import-not-found]

    chart = Chart()
    workflow = order_fulfillment(chart).plan_eagerly(LARGE_ORDER)
    done = run(workflow, SMALL_ORDER, max_workers=8).result()

    chart.show("Generation by generation")
    for number in range(2):
        print(done.results(input=number))
    print("\nThe small order was decided only when the large one's slowest check was back.")


if __name__ == "__main__":
    main()

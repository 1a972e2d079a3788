"""Code that changed under a stored run: what differs, what is to be done about it, and the workflow to go on with.

Pure: a definition and events go in, a workflow or an error comes out. No user code runs.
"""

from treadle.upgrade.carry import upgraded
from treadle.upgrade.differences import Difference, compare
from treadle.upgrade.plan import Plan, plan
from treadle.upgrade.rules import POLICIES, OnChange, on_change_from

__all__ = [
    "Difference",
    "OnChange",
    "POLICIES",
    "Plan",
    "compare",
    "on_change_from",
    "plan",
    "upgraded",
]

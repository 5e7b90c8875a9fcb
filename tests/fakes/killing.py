"""Rounds of forked children that are killed with SIGKILL at random moments, for loops that need many deaths in little
time.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable


def kill_rounds(work: Callable[[int], None], *, children: int, rounds: int, longest_s: float, seed: int) -> int:
    """Fork `children` a round, each running `work(its number)`, and kill each at a random moment; how many died of it.

    Call it from a process without threads. Ends with a round in which nobody is killed; raises if a child of it fails.
    """
    rng = random.Random(seed)
    killed = 0
    for last in [False] * rounds + [True]:
        running = [_fork(work, number) for number in range(children)]
        for pid in running:
            if not last:
                time.sleep(rng.uniform(0, longest_s))
                os.kill(pid, signal.SIGKILL)
        for pid in running:
            status = os.waitpid(pid, 0)[1]
            killed += os.WIFSIGNALED(status)
            if last and status != 0:
                raise AssertionError(f"a child that nobody killed ended with {status}")
    return killed


def _fork(work: Callable[[int], None], number: int) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work(number)
        except BaseException:  # the parent must see a failure, and never run on in a child
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid

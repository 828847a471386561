"""A process that lets another run for a short time and stops it for a longer one, in turn.

    duty.py PID RUN_S STOP_S

A thread that polls is always busy, whether or not there is anything to do, and one sender cannot
keep it so. While it is stopped its rings fill, so that whenever it runs, it works: then its CPU
time is that of its packets. Ended by SIGTERM, it leaves the other one running.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

PR_SET_TIMERSLACK = 29


def main() -> None:
    pid, run_s, stop_s = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1000)
    # Threads that poll have all cores otherwise, and it would come too late to stop them.
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(2))
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    print("ready", flush=True)
    while not asked:
        os.kill(pid, signal.SIGCONT)
        time.sleep(run_s)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(stop_s)
    os.kill(pid, signal.SIGCONT)


if __name__ == "__main__":
    main()

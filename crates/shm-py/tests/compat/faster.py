"""Runs a program with time that passes k times as fast: python faster.py K PROGRAM

The periods of the drop-ins' limits, and the sleeps of the program, are divided by k. The program is not changed.
"""

import runpy
import sys
import time

from shm_limit import Limit
from shm_limit.compat import ratemate
from shm_limit.compat.algorithms import _bucket
from shm_limit.compat.flowguard import _limiter as flowguard
from shm_limit.compat.nekkar import _limiter as nekkar

k, program = float(sys.argv[1]), sys.argv[2]
if k != 1:
    sleep = time.sleep
    time.sleep = lambda seconds: sleep(seconds / k)
    for module in (ratemate, _bucket, flowguard, nekkar):
        module.Limit = lambda max_count, per, **settings: Limit(max_count, per / k, **settings)
runpy.run_path(program, run_name="__main__")

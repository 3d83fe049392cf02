"""`python -m tests.unit.election --schedules 100000 --seed 1`: random schedules."""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.unit.election.cluster import SHAPES
from tests.unit.election.schedules import Schedule, many

PART = 2000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.unit.election")
    parser.add_argument("--schedules", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="the first schedule's")
    parser.add_argument("--faults", type=int, default=1000, help="at most so many in each")
    parser.add_argument("--shape", type=int, choices=range(len(SHAPES)), help="default: all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    began = time.monotonic()
    shape = SHAPES[asked.shape] if asked.shape is not None else None
    like = Schedule(0, faults=asked.faults, shape=shape)
    end = asked.seed + asked.schedules
    for first in range(asked.seed, end, PART):
        seeds = range(first, min(end, first + PART))
        found = many(seeds, like, asked.jobs)
        if found is not None:
            schedule, broken = found
            print(f"--seed {schedule.seed} --schedules 1 --faults {schedule.faults}: {broken}")
            return 1
        done = seeds.stop - asked.seed
        print(f"{done} schedules held, {time.monotonic() - began:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.unit.election --schedules 100000 --seed 1`: random schedules, as many as asked."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace

from tests.unit.election.cluster import SHAPES
from tests.unit.election.schedules import Schedule, failure, shrink


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.unit.election")
    parser.add_argument("--schedules", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="the first schedule's")
    parser.add_argument("--faults", type=int, default=1000, help="at most so many in each")
    parser.add_argument("--shape", type=int, choices=range(len(SHAPES)), help="default: all")
    parser.add_argument("--failures", type=int, default=1, help="stop after so many")
    asked = parser.parse_args()
    began, failed = time.monotonic(), 0
    shape = SHAPES[asked.shape] if asked.shape is not None else None
    for seed in range(asked.seed, asked.seed + asked.schedules):
        schedule = Schedule(seed, faults=asked.faults, shape=shape)
        if failure(schedule) is None:
            continue
        failed += 1
        small = shrink(schedule, lambda s: failure(s) is not None)
        print(f"seed {seed}, faults {small.faults}: {failure(replace(small))}", flush=True)
        if failed >= asked.failures:
            break
    print(f"{seed - asked.seed + 1} schedules, {failed} failed, {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

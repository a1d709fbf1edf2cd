#!/usr/bin/env python3
"""One trivial function on two workers, three ways: `executors.rs` runs them and compares.

    executors.py worker     the function as a program of JSON lines, for the pool
    executors.py submit N   N calls through concurrent.futures.ProcessPoolExecutor(2).submit; prints calls per second
    executors.py ray N      N calls as Ray tasks on two CPUs (pip install ray); prints calls per second
"""
import json
import sys
import time


def add(x, u):
    return [a + b for a, b in zip(x, u)]


def worker():
    for line in sys.stdin:
        call = json.loads(line)
        if call.get("describe"):
            answer = {"describe": {"x": [{}] * 2, "u": [{}] * 2, "y": [{}] * 2}}
        else:
            answer = {"y": add(call["x"], call["u"])}
        print(json.dumps({"id": call["id"], **answer}), flush=True)


def rows(n):
    return [([i % 1000 / 7, 1.0], [2.0, i % 1000 / 7]) for i in range(n)]


def submit(n):
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(2) as pool:
        list(pool.map(add, *zip(*rows(8))))  # both workers are up
        start = time.perf_counter()
        waiting = [pool.submit(add, x, u) for x, u in rows(n)]
        for future in waiting:
            future.result()
        return n / (time.perf_counter() - start)


def ray_tasks(n):
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    task = ray.remote(add)
    ray.get([task.remote(x, u) for x, u in rows(50)])
    start = time.perf_counter()
    ray.get([task.remote(x, u) for x, u in rows(n)])
    rate = n / (time.perf_counter() - start)
    ray.shutdown()
    return rate


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        worker()
    else:
        print({"submit": submit, "ray": ray_tasks}[sys.argv[1]](int(sys.argv[2])))

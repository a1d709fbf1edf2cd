#!/usr/bin/env python3
"""A program that misbehaves on request, for the tests of the pool. Standard library only.

    misbehave.py MODE [ARGUMENT]

F(x, u) = (x + u, x u), one number each. A row with u < 0 is a bad one: what happens then is the MODE.
"""
import json, os, signal, subprocess, sys, time

MODE = sys.argv[1]
ARGUMENT = sys.argv[2] if len(sys.argv) > 2 else ""
DESCRIPTION = {"name": MODE, "x": [{"name": "x"}], "u": [{"name": "u", "lo": -1.0, "hi": 1.0}], "y": [{}, {}]}


def say(reply):
    sys.stdout.write((reply if isinstance(reply, str) else json.dumps(reply)) + "\n")
    sys.stdout.flush()


def complain(text):
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def note(text):
    """Leaves a line in the file ARGUMENT, for tests that must know what happened in here."""
    with open(ARGUMENT, "a") as file:
        file.write(text + "\n")


def value(x, u):
    return [x[0] + u[0], x[0] * u[0]]


def start():
    if MODE == "dies-at-start":
        complain("loading the mesh\ncannot open mesh.dat")
        sys.exit(3)
    if MODE == "prints-at-start":
        say("Solver 4.2, all rights reserved")
    if MODE == "hangs-at-start":
        complain("waiting for a licence")
        time.sleep(1000)
    if MODE == "starts-once":  # only the first of its kind comes up
        if os.path.exists(ARGUMENT):
            complain("the licence is taken")
            sys.exit(4)
        note("started")
    if MODE == "endless-at-start":
        while True:
            sys.stdout.write("x" * 65536)
    if MODE == "only-worker-1" and os.environ["GRAYBOX_WORKER"] != "1":
        complain("this machine has no licence")
        sys.exit(5)
    if MODE == "other-sizes" and os.environ["GRAYBOX_WORKER"] != "0":
        DESCRIPTION["y"] = [{}]
    if MODE == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if MODE in ("parent", "parent-dies", "stubborn"):
        # Holds our standard output open after our death, and does not mind SIGTERM.
        child = subprocess.Popen([sys.executable, "-S", "-c",
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)"])
        note("%d\n%d" % (os.getpid(), child.pid))


def describe(rid):
    if MODE == "undescribed":
        return {"id": rid, "error": "KeyError: 'x'"}
    if MODE == "describes-badly":
        return {"id": rid, "describe": {"name": "sizeless", "inputs": 2}}
    if MODE == "describes-wrongly":
        return {"id": rid, "y": [1.0, 2.0]}
    if MODE == "single":
        return {"id": rid, "describe": dict(DESCRIPTION, batch=1)}
    return {"id": rid, "describe": DESCRIPTION}


def bad(rid, x, u):
    if MODE == "fails":
        say({"id": rid, "error": "did not converge"})
    elif MODE in ("dies", "parent-dies"):
        complain("Segmentation fault")
        os._exit(11)
    elif MODE == "dies-once":
        if os.path.exists(ARGUMENT):
            say({"id": rid, "y": value(x, u)})
        else:
            note("died")
            os._exit(11)
    elif MODE in ("hangs", "stubborn"):
        time.sleep(1000)
    elif MODE == "prints":
        say("Warning: the matrix is nearly singular")
    elif MODE == "wide":
        say({"id": rid, "y": value(x, u) + [0.0]})
    elif MODE == "nan":
        say({"id": rid, "y": [float("nan"), float("inf")]})
    elif MODE == "text":
        say({"id": rid, "y": ["1.0", "2.0"]})
    elif MODE == "no-id":
        say({"y": value(x, u)})
    elif MODE == "wrong-id":
        say({"id": rid + 1000000, "y": value(x, u)})
    elif MODE == "twice":
        say({"id": rid, "y": value(x, u)})
        say({"id": rid, "y": [0.0, 0.0]})
    elif MODE == "endless":
        while True:
            sys.stdout.write("x" * 65536)
    else:
        say({"id": rid, "y": value(x, u)})


def shuffled(requests):
    """Answers whatever has arrived, last first."""
    for request in reversed(requests):
        say({"id": request["id"], "y": value(request["x"], request["u"])})


def serve():
    held = []
    for line in sys.stdin:
        request = json.loads(line)
        rid = request["id"]
        if request.get("describe"):
            say(describe(rid))
            continue
        x, u = request["x"], request["u"]
        if MODE == "counts":
            note(str(len(x) if isinstance(x[0], list) else 1))
        if MODE == "flood":
            sys.stderr.write("iteration 1 residual 0.1\n" * 20000)
        if MODE == "shuffled":
            held.append(request)
            if len(held) == int(ARGUMENT):
                shuffled(held)
                held = []
        elif isinstance(x[0], list):
            if MODE in ("rowwise", "single"):
                say({"id": rid, "error": "TypeError: x must be a list of numbers"})
            elif MODE == "short":
                say({"id": rid, "y": [value(*row) for row in zip(x, u)][:-1]})
            elif any(row[0] < 0 for row in u) and MODE in ("dies", "hangs"):
                bad(rid, x, u)
            else:
                rows = [(None, "did not converge") if b[0] < 0 else (value(a, b), None) for a, b in zip(x, u)]
                say({"id": rid, "y": [y for y, _ in rows], "errors": [e for _, e in rows]})
        elif u[0] < 0:
            bad(rid, x, u)
        else:
            if MODE == "slow":
                time.sleep(float(ARGUMENT))
            say({"id": rid, "y": value(x, u)})


start()
serve()

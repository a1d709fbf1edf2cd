#!/usr/bin/env python3
"""A thin lens: which focal length puts the image of an object at a wanted distance? Standard library only.

    lens.py                    answers rows on standard input, as JSON lines
    lens.py --sample N [SEED]  prints N rows {"x":[..],"Y":[..],"u_feasible":[..]} to learn from

A program is an oracle if it does what `serve` below does; copy it.
"""
import json, random, sys

DESCRIPTION = {
    "name": "lens",
    "x": [{"name": "object_distance", "unit": "m", "lo": 0.5, "hi": 4.0},
          {"name": "target_image_distance", "unit": "m"}],
    "u": [{"name": "focal_length", "unit": "m", "lo": 0.1, "hi": 2.0}],
    "y": [{"name": "image_distance", "unit": "m", "scale": 0.5}],
    "source": "1/f = 1/object + 1/image",
}


class NoAnswer(Exception):
    """There is no outcome for this row, and this is why."""


def evaluate(x, u):
    curvature = 1 / u[0] - 1 / x[0]
    if curvature <= 0:
        raise NoAnswer("no real image")
    return [1 / curvature]


def answer(request):
    if request.get("describe"):
        return {"describe": DESCRIPTION}
    x, u = request["x"], request["u"]
    if x and isinstance(x[0], list):  # several rows in one line
        ys, errors = [], []
        for row in zip(x, u):
            try:
                ys.append(evaluate(*row))
                errors.append(None)
            except NoAnswer as reason:
                ys.append(None)
                errors.append(str(reason))
        return {"y": ys, "errors": errors}
    try:
        return {"y": evaluate(x, u)}
    except NoAnswer as reason:
        return {"error": str(reason)}


def serve():
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = answer(request)
        except Exception as error:  # one bad row must not end the program
            reply = {"error": repr(error)}
        reply["id"] = request["id"]
        # Strict JSON: a result that is not finite raises here, as it should.
        sys.stdout.write(json.dumps(reply, allow_nan=False) + "\n")
        sys.stdout.flush()


def sample(n, seed):
    rng = random.Random(seed)
    while n > 0:
        distance, focal = rng.uniform(0.5, 4.0), rng.uniform(0.1, 2.0)
        try:
            y = evaluate([distance], [focal])
        except NoAnswer:
            continue
        if y[0] < 8.0:
            print(json.dumps({"x": [distance, y[0]], "Y": y, "u_feasible": [focal]}))
            n -= 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--sample"]:
        sample(int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
    else:
        serve()

#!/usr/bin/env python3
"""A ball thrown into the wind: at which angle does it land at a wanted distance? The smallest useful oracle."""
import json, math, sys

DESCRIBE = {"name": "throw", "x": [{"name": "distance", "unit": "m"}, {"name": "wind", "unit": "m/s"}],
            "u": [{"name": "angle", "unit": "rad", "lo": 0.05, "hi": 0.75}], "y": [{"name": "range", "unit": "m"}]}

def evaluate(distance, wind, angle):
    airborne = 2 * 20 * math.sin(angle) / 9.81
    return 20 * math.cos(angle) * airborne + 0.2 * wind * airborne ** 2

for line in sys.stdin:
    request = json.loads(line)
    reply = {"describe": DESCRIBE} if request.get("describe") else {"y": [evaluate(*request["x"], *request["u"])]}
    print(json.dumps({"id": request["id"], **reply}), flush=True)

"""onnx_runs.py MODEL ACTIONS.csv: runs the model on the contexts of a prediction and prints the largest difference."""
import csv, sys

import numpy
import onnx
import onnxruntime

model, actions = sys.argv[1:]
onnx.checker.check_model(onnx.load(model), full_check=True)
with open(actions) as file:
    header, *rows = csv.reader(file)
rows = numpy.array(rows, dtype=numpy.float64)
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
d_x = session.get_inputs()[0].shape[1]
d_u = session.get_outputs()[0].shape[1]
(u,) = session.run(["u"], {"x": rows[:, :d_x].astype(numpy.float32)})
print(abs(u - rows[:, -d_u:]).max())

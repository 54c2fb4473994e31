"""Load models as a user of MLflow does, and print what each says of itself and of a frame: [[URI, frame], ...] as JSON.

Not a fixture but a program of its own: MLflow's model code warns when it is imported, and in tests a warning is an
error.
"""

import json
import sys

import mlflow.pyfunc
import pandas as pd

answers = []
for uri, frame in json.loads(sys.argv[1]):
    model = mlflow.pyfunc.load_model(uri)
    answers.append(
        {
            "flavors": sorted(model.metadata.flavors),
            "signature": [(one.name, one.type.name) for one in model.metadata.get_input_schema()],
            "release": model.metadata.metadata["homeostat.release"],
            "example": model.predict(model.input_example)["probability"].tolist(),
            "found": model.predict(pd.DataFrame(frame))["probability"].tolist(),
        }
    )
sys.stdout.write(json.dumps(answers))

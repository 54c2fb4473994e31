"""The Open Inference Protocol (V2): which model answers, which rows its input tensors hold, and the output tensors.

Not here: the bytes of tensors (`web.tensors`), or what becomes of a row (`web.answers`). The one model is named as the
project is, and its one version is the digest of the release that answers.
https://github.com/open-inference/open-inference-protocol
"""

from collections.abc import Collection, Mapping, Sequence
from http import HTTPStatus
from importlib.metadata import version as version_of
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response

from homeostat.deployment.serving import LiveRelease
from homeostat.errors import ModelMissing, RequestInvalid
from homeostat.monitoring.idempotency import Answered
from homeostat.records import Json, Schema, Target
from homeostat.web.answers import Answer
from homeostat.web.bodies import refuse_depth, show
from homeostat.web.endpoint import JSON, Reply, Sent
from homeostat.web.openapi_protocols import describe_health, describe_metadata, describe_ready
from homeostat.web.predict import require_at_most
from homeostat.web.routes import to_json
from homeostat.web.tables import (
    Column,
    decode_python_json,
    judge_columns,
    reply_whole,
    require_columns,
    require_plain,
)
from homeostat.web.tensors import (
    INTEGERS,
    MAX_DIMENSIONS,
    NUMBERS,
    TEXT,
    Parameters,
    RequestedOutput,
    RequestInput,
    invalid,
    read_matrix,
    split_tail,
    write_output,
)
from homeostat.web.worker import Worker

MODEL = "/v2/models/{name}"
VERSION = f"{MODEL}/versions/{{version}}"
INFER_ROUTES = (f"{MODEL}/infer", f"{VERSION}/infer")
# A version may be cut: as many digits name a release in commands and messages, too.
SHORTEST_VERSION = 12
# The datatypes of a categorical feature: a category is text or a whole number.
CATEGORIES = (TEXT, *INTEGERS)
# Of those that the protocol lists.
PLATFORM = "onnx_onnxv1"
LENGTH_HEADER = "inference-header-content-length"


class InferRequest(msgspec.Struct, frozen=True):
    """The JSON of a request; members that it may have beside these are not looked at. Optional ones may be null."""

    inputs: list[RequestInput]
    id: str | None = None
    outputs: list[RequestedOutput] | None = None
    parameters: Parameters | None = None


def judge_infer(sent: Sent, live: LiveRelease, *, model: str) -> Reply:
    """Return what the tensors in a body are answered with.

    Raises
    ------
    ModelMissing
        The path names another model than `model`, or another version than the release that answers.
    RequestInvalid
        The body is no request, its tensors are not those of the model, or it asks for an unknown output.
    RequestTooLarge
        The tensors have more rows than the service takes.
    """
    require_model(sent.parameters, model, live)
    require_plain(sent)
    with refuse_depth():
        request, tail = parse_request(sent)
        outputs = choose_outputs(request, live.schema.target)
        columns = read_columns(request.inputs, tail, live.schema, max_rows=sent.max_rows)
        judged = judge_columns(columns, live, received_at=sent.received_at)

    def answer(answers: Sequence[Answer]) -> Answered:
        head: Json = {"model_name": model, "model_version": live.digest}
        head |= {} if request.id is None else {"id": request.id}
        return answer_tensors(head, answers, outputs, live.schema.target)

    return reply_whole(judged, answer, path=MODEL)


def require_model(parameters: Mapping[str, str], model: str, live: LiveRelease) -> None:
    """Raise ModelMissing unless the path names the model and, if it names one, the version that answers."""
    name, version = parameters["name"], parameters.get("version", live.digest)
    if name != model:
        raise missing(f"there is no model {name[:80]!r}", f"the model {model!r}")
    if len(version) < SHORTEST_VERSION or not live.digest.startswith(version):
        raise missing(f"the model has no version {version[:80]!r}", f"the release that answers, {live.digest}")


def missing(problem: str, expected: str) -> ModelMissing:
    """Return the error for a model or a version that does not answer."""
    return ModelMissing(problem=problem, expected=expected, action="correct the path, or leave the version out")


def parse_request(sent: Sent) -> tuple[InferRequest, bytes]:
    """Return the JSON of a request and the bytes behind it; RequestInvalid if it is none."""
    length = sent.headers.get(LENGTH_HEADER.encode(), b"%d" % len(sent.body))
    if not length[:20].isdigit() or int(length[:20]) > len(sent.body):
        raise RequestInvalid(
            problem=f"Inference-Header-Content-Length is {length[:40].decode('latin-1')!r}",
            expected=f"a number of bytes, at most {len(sent.body)}",
            action="send how many bytes of the body are JSON",
        )
    end = int(length[:20])
    document = decode_python_json(sent.body[:end])
    try:
        return msgspec.convert(document, InferRequest), sent.body[end:]
    except msgspec.ValidationError as error:
        raise RequestInvalid(
            problem=f"the body is no inference request: {error}",
            expected='{"inputs": [{"name", "shape", "datatype", "data"}, ...]}',
            action="send one tensor for each feature, as the model's metadata name them",
        ) from error


def read_columns(inputs: Sequence[RequestInput], tail: bytes, schema: Schema, *, max_rows: int) -> dict[str, Column]:
    """Return the cells that the input tensors hold, by feature; errors as `judge_infer`."""
    for tensor in inputs:
        if len(tensor.shape) not in {1, MAX_DIMENSIONS} or min(tensor.shape) < 0:
            raise invalid(tensor, f"the shape is {show(tensor.shape)}", "[n] or [n, 1]")
        require_at_most(max_rows, tensor.shape[0])
    parts = split_tail(inputs, tail)
    if len(inputs) == 1 and is_matrix(inputs[0], schema):
        require_datatype(inputs[0], NUMBERS)
        columns = read_matrix(inputs[0], parts[0], width=len(schema.features))
        return {feature.name: column for feature, column in zip(schema.features, columns, strict=True)}
    require_columns([tensor.name for tensor in inputs], schema)
    features = {feature.name: feature for feature in schema.features}
    n_rows = inputs[0].shape[0]
    found: dict[str, Column] = {}
    for tensor, part in zip(inputs, parts, strict=True):
        if tensor.name in found:
            raise invalid(tensor, "it is there twice", "each input once")
        if tensor.shape not in ([n_rows], [n_rows, 1]):
            raise invalid(
                tensor, f"the shape is {show(tensor.shape)}", f"[{n_rows}] or [{n_rows}, 1], as the first has"
            )
        require_datatype(tensor, NUMBERS if features[tensor.name].kind == "numeric" else CATEGORIES)
        (found[tensor.name],) = read_matrix(tensor, part, width=1)
    return found


def is_matrix(tensor: RequestInput, schema: Schema) -> bool:
    """Return whether one tensor holds all features, in schema order; its name is then the sender's."""
    return not schema.categorical and tensor.shape[1:] == [len(schema.features)]


def require_datatype(tensor: RequestInput, known: Collection[str]) -> None:
    """Raise RequestInvalid unless a tensor has one of these datatypes."""
    if tensor.datatype not in known:
        raise invalid(tensor, f"the datatype is {show(tensor.datatype)}", f"one of {', '.join(known)}")


def output_datatypes(target: Target) -> Mapping[str, str]:
    """Return the outputs of the model with their datatypes, in order."""
    numbers = isinstance(target.negative, int) and isinstance(target.positive, int)
    # The graph computes in float32: FP64 would only pretend to more digits.
    return {"probability": "FP32", "label": "INT64" if numbers else TEXT, "id": TEXT}


def choose_outputs(request: InferRequest, target: Target) -> Mapping[str, bool]:
    """Return the outputs that are asked for, all if none is named, and whether each is to be bytes."""
    known = output_datatypes(target)
    usual = bool((request.parameters or {}).get("binary_data_output", False))
    if not request.outputs:
        return dict.fromkeys(known, usual)
    names = [output.name for output in request.outputs]
    wrong = next((name for name in names if name not in known or names.count(name) > 1), None)
    if wrong is not None:
        raise RequestInvalid(
            problem=f"the output {show(wrong)!r} is asked for",
            expected=f"each of {', '.join(known)} at most once",
            action="correct the outputs, or leave them out to get all",
        )
    return {output.name: bool((output.parameters or {}).get("binary_data", usual)) for output in request.outputs}


def answer_tensors(head: Json, answers: Sequence[Answer], outputs: Mapping[str, bool], target: Target) -> Answered:
    """Return the answer with its tensors."""
    datatypes = output_datatypes(target)
    written = [
        write_output(name, datatypes[name], values_of(answers, name, datatypes[name]), binary=binary)
        for name, binary in outputs.items()
    ]
    content = msgspec.json.encode({**head, "outputs": [tensor for tensor, _ in written]})
    if not any(outputs.values()):
        return Answered(HTTPStatus.OK, JSON, content)
    headers = {"content-type": "application/octet-stream", LENGTH_HEADER: str(len(content))}
    return Answered(HTTPStatus.OK, headers, b"".join([content, *(part for _, part in written)]))


def values_of(answers: Sequence[Answer], name: str, datatype: str) -> list[Any]:
    """Return one output of every answer; an integer label beside one that is text is text, too."""
    values = [getattr(answer, name) for answer in answers]
    return list(map(str, values)) if datatype == TEXT else values


def add_open_inference(app: FastAPI, worker: Worker) -> None:
    """Add the routes that only look: health and metadata."""
    model = worker.project.settings.project.name

    @app.get("/v2/health/live", summary="Whether the server answers at all", **describe_health())
    async def server_live() -> Response:
        return Response()

    @app.get("/v2/health/ready", summary="Whether requests should be sent here", **describe_health())
    async def server_ready() -> Response:
        # 4xx is what the protocol has for "no", and 400 what Triton and MLServer answer.
        return Response(status_code=HTTPStatus.BAD_REQUEST if worker.find_obstacles() else HTTPStatus.OK)

    @app.get("/v2", tags=["open inference"], summary="The server's name, version and extensions")
    async def server_metadata() -> Response:
        extensions = ["binary_tensor_data"]
        return to_json({"name": "homeostat", "version": version_of("homeostat"), "extensions": extensions})

    async def model_metadata(request: Request) -> Response:
        live = worker.require_live()
        require_model(request.path_params, model, live)
        return to_json(describe_model(model, live))

    async def model_ready(request: Request) -> Response:
        if not worker.find_obstacles():
            require_model(request.path_params, model, worker.require_live())
        return await server_ready()

    for path in (MODEL, VERSION):
        app.get(path, summary="The inputs and outputs of the model", **describe_metadata(path, model))(model_metadata)
        app.get(f"{path}/ready", summary="Whether the model answers", **describe_ready(path, model))(model_ready)


def describe_model(model: str, live: LiveRelease) -> Json:
    """Return the metadata of the model."""
    inputs = {feature.name: "FP64" if feature.kind == "numeric" else TEXT for feature in live.schema.features}
    outputs = output_datatypes(live.schema.target)
    return {
        "name": model,
        "versions": [live.digest],
        "platform": PLATFORM,
        "inputs": describe_tensors(inputs),
        "outputs": describe_tensors(outputs),
    }


def describe_tensors(datatypes: Mapping[str, str]) -> list[Json]:
    """Return the metadata of tensors; -1 is any number of rows."""
    return [{"name": name, "datatype": datatype, "shape": [-1]} for name, datatype in datatypes.items()]

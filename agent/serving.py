"""`python -m agent.serving`: the device's inference server, a child of the agent.

Answers the Open Inference Protocol v2 over HTTP (JSON, and the binary tensor extension), so that Triton and KServe
clients work unchanged. The agent commands it over a Unix socket: {op: load}, {op: unload}, {op: figures}, {op: watch},
{op: monitors}. A variant is loaded beside the one that serves, runs its golden set, and takes the traffic only if that
passes.
"""

import argparse
import asyncio
import hashlib
import json
import signal
import socket
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agent import VERSION, open_inference
from agent.monitors import Watch, confidences
from shoal.runtimes import load_runtime, runtime_version
from shoal.runtimes.golden import check_golden
from shoal.runtimes.model import Array, BadModel, LoadedModel
from shoal.runtimes.preprocessing import inputs_of, raw_spec
from shoal.wire.incremental import DriftMonitor
from shoal.wire.models import Preprocessing, PreprocessingStep, Signature, Task

MAX_REQUEST_BYTES: Final = 64 * 1024 * 1024
_LENGTH: Final = struct.Struct(">I")
_LATENCIES: Final = 1000  # samples that the percentiles are taken of


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent asks for, of a desired document; `path` and `golden` are files."""

    model: str
    version: int
    runtime: str
    path: str
    golden: str
    class_labels: list[str]
    task: str = Task.CLASSIFICATION
    signature: Signature | None = None
    preprocessing: Preprocessing = []
    options: dict[str, str] = {}


class Served:
    """A loaded variant and what it did since."""

    def __init__(self, variant: Variant, loaded: LoadedModel) -> None:
        self.model = variant.model
        self.version = variant.version
        self.loaded = loaded
        self.class_labels = variant.class_labels
        self.preprocessing: list[PreprocessingStep] = variant.preprocessing
        self.has_confidence = variant.task == Task.CLASSIFICATION
        self.watch: Watch | None = None
        self.requests = 0
        self.samples = 0
        self.failures = 0
        self.latencies_ms: deque[float] = deque(maxlen=_LATENCIES)

    def infer(self, tensors: Mapping[str, Array]) -> dict[str, Array]:
        """Infer, from the model's inputs or from raw data, and count it."""
        self.requests += 1
        start = time.perf_counter()
        try:
            outputs = self.loaded.infer(inputs_of(tensors, self.loaded.inputs, self.preprocessing))
        except BadModel:
            self.failures += 1
            raise
        self.latencies_ms.append((time.perf_counter() - start) * 1000)
        first = next(iter(outputs.values()))
        before, self.samples = self.samples, self.samples + (len(first) if first.ndim else 1)
        if self.watch is not None and self.has_confidence and _are_logits(first):
            for number, confidence in enumerate(confidences(first), start=before + 1):
                self.watch.look(confidence, number)
        return outputs

    def figures(self) -> dict[str, Any]:
        """Give the counts for telemetry."""
        figures: dict[str, Any] = {
            "model": self.model,
            "version": self.version,
            "requests": self.requests,
            "failures": self.failures,
        }
        if self.latencies_ms:
            figures["latency_p50_ms"] = float(np.median(self.latencies_ms))
            figures["latency_p95_ms"] = float(np.percentile(self.latencies_ms, 95))
        return figures


class Server:
    """The models that serve, and the two doors to them."""

    def __init__(self) -> None:
        self._served: dict[str, Served] = {}
        self._monitors: dict[str, DriftMonitor] = {}

    # Commands of the agent

    async def command(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what the agent asks for."""
        operations: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {
            "load": self.load,
            "unload": self.unload,
            "figures": self.figures,
            "watch": self.watch,
            "monitors": self.monitors,
        }
        try:
            arguments = dict(request)
            return {"ok": True, **await operations[arguments.pop("op")](**arguments)}
        except BadModel as error:
            return {"ok": False, "code": error.code, "message": str(error)}
        except OSError as error:
            return {"ok": False, "code": "artifact.unreadable", "message": str(error)}

    async def load(self, **variant: Any) -> dict[str, Any]:
        """Load a `Variant` and let it serve if its golden set passes; else what served goes on serving."""
        asked = msgspec.convert(variant, Variant)
        # In a thread, so that requests are answered meanwhile; the traffic moves on the loop, between two requests.
        loaded, answer = await asyncio.to_thread(_load_and_prove, asked)
        if answer["golden"]["passed"]:
            await self.unload(model=asked.model)
            served = Served(asked, loaded)
            self._set_watch(served)
            self._served[asked.model] = served
        else:
            loaded.close()
        return answer

    async def unload(self, *, model: str) -> dict[str, Any]:
        """Stop serving a model."""
        served = self._served.pop(model, None)
        if served is not None:
            served.loaded.close()
        return {}

    async def watch(self, *, monitors: list[dict[str, Any]]) -> dict[str, Any]:
        """Watch the models by these monitors; one that is as it was goes on with what it has seen."""
        self._monitors = {one.model: one for one in msgspec.convert(monitors, list[DriftMonitor])}
        for served in self._served.values():
            self._set_watch(served)
        return {}

    async def monitors(self) -> dict[str, Any]:
        """Give how the monitors of the models that serve stand."""
        found = [
            {**watch.figures(), "version": served.version}
            for served in self._served.values()
            if (watch := served.watch) is not None
        ]
        return {"monitors": found}

    def _set_watch(self, served: Served) -> None:
        monitor = self._monitors.get(served.model)
        if monitor is None:
            served.watch = None
        elif served.watch is None or served.watch.monitor != monitor:
            served.watch = Watch(monitor)

    async def figures(self) -> dict[str, Any]:
        """Give the counts of all models."""
        return {"models": [served.figures() for served in self._served.values()]}

    # The Open Inference Protocol v2. Endpoints are coroutines on one loop, so a model does one inference at a time.

    def app(self) -> Starlette:
        """Build the HTTP application."""
        models = "/v2/models/{model}"
        versions = models + "/versions/{version}"
        routes = [
            Route("/v2", self._about),
            Route("/v2/health/live", self._live),
            Route("/v2/health/ready", self._ready),
        ]
        for prefix in (models, versions):
            routes += [
                Route(prefix, self._describe),
                Route(f"{prefix}/ready", self._model_ready),
                Route(f"{prefix}/infer", self._infer, methods=["POST"]),
            ]
        return Starlette(routes=routes, exception_handlers={BadModel: _refused})

    async def _about(self, _request: Request) -> Response:
        return JSONResponse({"name": "shoal", "version": VERSION, "extensions": ["binary_tensor_data"]})

    async def _live(self, _request: Request) -> Response:
        return JSONResponse({"live": True})

    async def _ready(self, _request: Request) -> Response:
        return JSONResponse({"ready": bool(self._served)}, 200 if self._served else 503)

    async def _model_ready(self, request: Request) -> Response:
        served = self._find(request)
        return JSONResponse({"name": served.model, "ready": True})

    async def _describe(self, request: Request) -> Response:
        served = self._find(request)
        outputs = [open_inference.describe(spec) for spec in served.loaded.outputs]
        outputs[0]["parameters"] = {"class_labels": json.dumps(served.class_labels)}
        about: dict[str, Any] = {
            "name": served.model,
            "versions": [str(served.version)],
            "platform": "shoal",
            "inputs": [open_inference.describe(spec) for spec in served.loaded.inputs],
            "outputs": outputs,
        }
        if served.preprocessing and len(served.loaded.inputs) == 1:
            # What may come instead of the inputs.
            about["parameters"] = {
                "raw_input": open_inference.describe(raw_spec(served.preprocessing)),
                "preprocessing": msgspec.to_builtins(served.preprocessing),
            }
        return JSONResponse(about)

    async def _infer(self, request: Request) -> Response:
        served = self._find(request)
        body = await _body(request)
        asked, binary = open_inference.parse_request(body, request.headers.get(open_inference.HEADER_LENGTH))
        outputs = served.infer(open_inference.tensors_of(asked, binary))
        content, media_type, headers = open_inference.answer(asked, outputs, model=served.model, version=served.version)
        return Response(content, media_type=media_type, headers=headers)

    def _find(self, request: Request) -> Served:
        served = self._served.get(request.path_params["model"])
        version = request.path_params.get("version")
        if served is None or (version is not None and version != str(served.version)):
            raise BadModel("model.not_found", "This device does not serve such a model or version.")
        return served


def _load_and_prove(variant: Variant) -> tuple[LoadedModel, dict[str, Any]]:
    path = Path(variant.path)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    loaded = load_runtime(variant.runtime).open(path, signature=variant.signature, options=variant.options)
    try:
        golden = check_golden(loaded, Path(variant.golden).read_bytes(), variant.task)
    except BaseException:
        loaded.close()
        raise
    answer = {"sha256": sha256, "runtime_version": runtime_version(variant.runtime), "golden": golden.as_dict()}
    return loaded, answer


def _are_logits(output: Array) -> bool:
    """Tell whether an output has a confidence; what else a model may give has none."""
    return output.ndim == 2 and output.shape[1] > 1 and output.dtype.kind == "f"


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_REQUEST_BYTES:
            raise BadModel("request.too_large", f"A request has at most {MAX_REQUEST_BYTES} bytes.")
    return bytes(body)


def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, BadModel)
    status = {"model.not_found": 404, "request.too_large": 413}.get(error.code, 400)
    return JSONResponse({"error": str(error), "code": error.code}, status)


class _Server(uvicorn.Server):
    """Ends when the agent says so: Ctrl-C is for the agent."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take no signals."""
        yield


async def serve(path: str, host: str, port: int) -> None:
    """Serve until the agent's connection closes."""
    models = Server()
    server = _Server(
        uvicorn.Config(models.app(), host=host, port=port, log_config=None, access_log=False, lifespan="off")
    )

    async def commands(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
                request = msgspec.msgpack.decode(await reader.readexactly(length), type=dict[str, Any])
                body = msgspec.msgpack.encode(await models.command(request))
                writer.write(_LENGTH.pack(len(body)) + body)
                await writer.drain()
        writer.close()
        server.should_exit = True

    control = await asyncio.start_unix_server(commands, path)
    await server.serve()
    control.close()


def main() -> None:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m agent.serving")
    parser.add_argument("--socket", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the agent, which ends this
    with socket.socket() as probe:  # before the socket exists: a port in use is an error of the start
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((options.host, options.port))
    asyncio.run(serve(options.socket, options.host, options.port))


if __name__ == "__main__":
    main()

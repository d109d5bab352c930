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
from collections.abc import Awaitable, Callable, Iterator
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
from shoal.runtimes import available_runtimes, load_runtime
from shoal.runtimes.golden import check_golden
from shoal.runtimes.model import BadModel, LoadedModel, Tensor
from shoal.wire.incremental import DriftMonitor

MAX_REQUEST_BYTES: Final = 64 * 1024 * 1024
_LENGTH: Final = struct.Struct(">I")
_LATENCIES: Final = 1000  # samples that the percentiles are taken of


class Served:
    """A loaded variant and what it did since."""

    def __init__(self, *, model: str, version: int, loaded: LoadedModel, class_labels: list[str]) -> None:
        self.model = model
        self.version = version
        self.loaded = loaded
        self.class_labels = class_labels
        self.watch: Watch | None = None
        self.requests = 0
        self.samples = 0
        self.failures = 0
        self.latencies_ms: deque[float] = deque(maxlen=_LATENCIES)

    def infer(self, batch: Tensor) -> Tensor:
        """Infer, and count it."""
        self.requests += 1
        start = time.perf_counter()
        try:
            output = self.loaded.infer(batch)
        except BadModel:
            self.failures += 1
            raise
        self.latencies_ms.append((time.perf_counter() - start) * 1000)
        before, self.samples = self.samples, self.samples + len(output)
        if self.watch is not None and output.ndim == 2:  # logits: what else a model may give has no confidence
            for number, confidence in enumerate(confidences(output), start=before + 1):
                self.watch.look(confidence, number)
        return output

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

    async def load(
        self, *, model: str, version: int, runtime: str, path: str, golden: str, class_labels: list[str]
    ) -> dict[str, Any]:
        """Load a variant and let it serve if its golden set passes; else what served goes on serving."""
        # In a thread, so that requests are answered meanwhile; the traffic moves on the loop, between two requests.
        loaded, answer = await asyncio.to_thread(_load_and_prove, runtime, Path(path), Path(golden))
        if answer["golden"]["passed"]:
            await self.unload(model=model)
            served = Served(model=model, version=version, loaded=loaded, class_labels=class_labels)
            self._set_watch(served)
            self._served[model] = served
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
        labels = {"class_labels": json.dumps(served.class_labels)}
        return JSONResponse(
            {
                "name": served.model,
                "versions": [str(served.version)],
                "platform": "shoal",
                "inputs": [open_inference.describe(served.loaded.input)],
                "outputs": [{**open_inference.describe(served.loaded.output), "parameters": labels}],
            }
        )

    async def _infer(self, request: Request) -> Response:
        served = self._find(request)
        body = await _body(request)
        asked, binary = open_inference.parse_request(body, request.headers.get(open_inference.HEADER_LENGTH))
        batch = open_inference.tensor_of(asked, binary, served.loaded.input)
        output = served.infer(batch)
        content, media_type, headers = open_inference.answer(
            asked, output, model=served.model, version=served.version, spec=served.loaded.output
        )
        return Response(content, media_type=media_type, headers=headers)

    def _find(self, request: Request) -> Served:
        served = self._served.get(request.path_params["model"])
        version = request.path_params.get("version")
        if served is None or (version is not None and version != str(served.version)):
            raise BadModel("model.not_found", "This device does not serve such a model or version.")
        return served


def _load_and_prove(runtime: str, path: Path, golden: Path) -> tuple[LoadedModel, dict[str, Any]]:
    data = path.read_bytes()
    loaded = load_runtime(runtime).open(data)
    return loaded, {
        "sha256": hashlib.sha256(data).hexdigest(),
        "runtime_version": available_runtimes()[runtime],
        "golden": check_golden(loaded, golden.read_bytes()).as_dict(),
    }


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

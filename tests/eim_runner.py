"""A process that answers as an `.eim` executable does; what it shall do comes as its behaviour. Standard library only.

Its protocol is proven against Edge Impulse's own client (tests/conformance/test_edgeimpulse_protocol.py).
"""

import json
import mmap
import os
import signal
import socket
import struct
import sys
import time
from pathlib import Path

WEIGHTS = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0.5]]  # as tests/models.py has them
LABELS = ["a", "b", "{c}"]  # a brace in a label is no end of an answer


class Runner:
    def __init__(self, behaviour):
        self.behaviour = behaviour
        self.labels = behaviour.get("labels", LABELS)
        self.parameters = {
            "input_features_count": 4,
            "labels": self.labels,
            "label_count": 3,
            "model_type": "classification",
            "has_anomaly": 0,
            "image_input_width": 0,
            "image_input_height": 0,
            "image_channel_count": 0,
            "sensor": 2,
            **behaviour.get("parameters", {}),
        }
        self.shared = None
        self.answers = 0

    def hello(self):
        answer = {"model_parameters": self.parameters, "project": {"id": 1, "name": "linear", "owner": "shoal"}}
        if self.behaviour.get("shared"):
            try:
                answer["features_shm"] = self.share(self.parameters["input_features_count"])
            except OSError as error:
                answer["features_shm_error"] = str(error)
        return answer

    def share(self, elements):
        self.path = Path("/dev/shm") / f"shoal-eim-{os.getpid()}"
        with self.path.open("w+b") as file:
            file.truncate(elements * 4)
            self.shared = mmap.mmap(file.fileno(), elements * 4)
        return {"name": f"/{self.path.name}", "size_bytes": elements * 4, "type": "float32", "elements": elements}

    def classify(self, features):
        self.answers += 1
        if self.answers == self.behaviour.get("crash_at"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.answers == self.behaviour.get("hang_at"):
            time.sleep(600)
        if len(features) != self.parameters["input_features_count"]:
            raise ValueError("wrong number of features")
        if self.parameters["model_type"] == "object_detection":
            box = {"label": "b", "value": 0.75, "x": 1, "y": 2, "width": 3, "height": 4}
            return {"bounding_boxes": [box]}
        if self.parameters["image_input_width"]:
            pixel = int(features[0])
            return {"classification": dict(zip(self.labels, [pixel >> 16, pixel >> 8 & 255, pixel & 255], strict=True))}
        columns = zip(*WEIGHTS, strict=True)
        scores = [sum(x * w for x, w in zip(features, column, strict=True)) for column in columns]
        result = {"classification": dict(zip(self.labels, scores, strict=True))}
        if self.parameters["has_anomaly"]:
            result["anomaly"] = sum(features)
        return result

    def answer(self, request):
        if "hello" in request:
            return self.hello()
        if "classify_shm" in request:
            count = request["classify_shm"]["elements"]
            return {"result": self.classify(list(struct.unpack_from(f"<{count}f", self.shared)))}
        return {"result": self.classify(request["classify"])}


def main(behaviour):
    if behaviour.get("ends_at_once"):
        sys.exit(3)
    if behaviour.get("never_listens"):
        time.sleep(600)
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    runner = Runner(behaviour)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(sys.argv[1])
    listening.listen(1)
    connection, _ = listening.accept()
    decoder, text = json.JSONDecoder(), ""
    try:
        while chunk := connection.recv(65536):
            text += chunk.decode()
            while text:
                try:
                    request, end = decoder.raw_decode(text)
                except ValueError:
                    break
                text = text[end:]
                try:
                    answer = {"success": True, **runner.answer(request)}
                except ValueError as error:
                    answer = {"success": False, "error": str(error)}
                if behaviour.get("stale_answers"):
                    connection.sendall(json.dumps({"success": True, "id": request["id"] - 1}).encode() + b"\0")
                connection.sendall(
                    behaviour.get("junk", "").encode() + json.dumps({**answer, "id": request["id"]}).encode() + b"\0"
                )
    finally:
        if runner.shared is not None:
            runner.path.unlink()

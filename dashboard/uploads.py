"""Files from the browser: written to a file piece by piece, never whole in memory, and passed on to the controller."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import urlsplit

import anyio
from fastapi import Request
from nicegui import run
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from dashboard.components.file_field import MAX_BYTES
from dashboard.sessions import Session
from shoal.client import ApiError, Unreachable

_TYPE: Final = "application/octet-stream"  # not one that another site's form could send


async def artifact(session: Session, request: Request, most: int = MAX_BYTES) -> Response:
    """Take a file's bytes and store them as an artifact; answers with its digest, or with why not."""
    origin = request.headers.get("origin")
    is_foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    if is_foreign or request.headers.get("content-type") != _TYPE:
        return _refused(403, "Files are taken from the dashboard's own pages only.")
    if int(request.headers.get("content-length") or 0) > most:
        return _refused(413, f"At most {most} bytes are taken.")
    with TemporaryDirectory(prefix="shoal-upload-") as folder:
        path = Path(folder) / "file"
        try:
            if not await _write(request, path, most):
                return _refused(413, f"At most {most} bytes are taken.")
            stored = await run.io_bound(lambda: session.client.artifacts.create(path))
        except ClientDisconnect:
            return _refused(400, "The file did not arrive whole.")
        except OSError as error:
            return _refused(507, f"The dashboard cannot keep the file ({error.strerror or error}).")
        except ApiError as error:
            return _refused(error.status, str(error))
        except Unreachable as error:
            return _refused(503, str(error))
    if stored is None:  # NiceGUI is stopping
        return _refused(503, "The dashboard is stopping.")
    return JSONResponse({"sha256": stored.sha256, "size_bytes": stored.size_bytes}, 201)


async def _write(request: Request, path: Path, most: int) -> bool:
    """Write what comes; tells whether it was not too much."""
    written = 0
    async with await anyio.open_file(path, "wb") as file:
        async for piece in request.stream():
            written += len(piece)
            if written > most:
                return False
            await file.write(piece)
    return True


def _refused(status: int, message: str) -> Response:
    return JSONResponse({"message": message}, status)

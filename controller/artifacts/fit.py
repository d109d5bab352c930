"""Whether weights that a device gave back fit those that it started from."""

from typing import Final

from sqlalchemy.orm import Session

from controller.artifacts import service as artifacts
from controller.artifacts.checks import MAX_TENSOR_FILE_BYTES
from controller.artifacts.tables import ArtifactRow
from controller.blobs import BlobStore
from controller.errors import Invalid, NotFound
from shoal.wire.tensors import MAX_ABS_WEIGHT, check_update, decode_tensors

_HEADER_BYTES: Final = 64 * 1024  # two safetensors files of the same tensors differ in their headers only


def check_given_weights(session: Session, blobs: BlobStore, *, sha256: str, base: str) -> None:
    """Check that a device uploaded weights which fit those that it started from.

    Args:
        sha256: Of what the device names as its update.
        base: Digest of the weights that it started from.

    Raises:
        NotFound: `update.missing_artifact`.
        Invalid: `update.too_large`.
        shoal.wire.errors.WireError: `tensors.malformed`, or as `shoal.wire.tensors.check_update`.
    """
    row = session.get(ArtifactRow, sha256)
    if row is None:
        raise NotFound("update.missing_artifact", f"No bytes with the digest {sha256} were uploaded.")
    most = min(artifacts.get_artifact(session, base).size_bytes + _HEADER_BYTES, MAX_TENSOR_FILE_BYTES)
    if row.size_bytes > most:
        raise Invalid("update.too_large", f"The update has {row.size_bytes} bytes; at most {most} fit these weights.")
    given, like = decode_tensors(blobs.read(sha256)), decode_tensors(blobs.read(base))
    check_update(given, like, max_abs=MAX_ABS_WEIGHT)

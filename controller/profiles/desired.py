"""A variant as devices are told of it: the same words in a desired document and in a profile's offer."""

import msgspec
from sqlalchemy.orm import Session

from controller.artifacts import service as artifacts
from controller.artifacts.tables import ModelRow, VariantRow, VersionRow
from shoal.wire.devices import ArtifactRef
from shoal.wire.models import Preprocessing, Signature
from shoal.wire.rollouts import DesiredVariant


def desired_variant(
    session: Session, model: ModelRow, version: VersionRow, variant: VariantRow, *, execution_id: str = ""
) -> DesiredVariant:
    """Give a variant's words.

    Args:
        execution_id: Of the rollout step that waits for it.
    """
    golden = artifacts.get_artifact(session, variant.golden_sha256)
    return DesiredVariant(
        model=model.name,
        version=version.number,
        variant_id=variant.id,
        recipe=variant.recipe,
        runtime=variant.runtime,
        artifact=ArtifactRef(sha256=variant.sha256, size_bytes=variant.size_bytes),
        golden=ArtifactRef(sha256=golden.sha256, size_bytes=golden.size_bytes),
        execution_id=execution_id,
        task=model.task,
        class_labels=list(model.class_labels),
        format=variant.format,
        signature=msgspec.convert(model.signature, Signature) if model.signature else None,
        preprocessing=msgspec.convert(model.preprocessing, Preprocessing),
    )

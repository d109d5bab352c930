"""`shoal variants`: what devices can run of a version."""

from typing import Annotated, Any, Final

import typer

from shoal.cli import figures
from shoal.cli.options import Json, parse_version
from shoal.cli.output import Column, show_done, show_item, show_page
from shoal.cli.session import connect
from shoal.cli.versions import VersionName
from shoal.schemas.artifacts import Variant

app = typer.Typer(no_args_is_help=True, help="What devices can run of a version.")

VariantId = Annotated[str, typer.Argument(metavar="VARIANT")]

_COLUMNS: Final = (
    Column[Variant](title="Variant", of=lambda variant: variant.id),
    Column[Variant](title="Recipe", of=lambda variant: variant.recipe),
    Column[Variant](title="Runtime", of=lambda variant: variant.runtime),
    Column[Variant](title="Format", of=lambda variant: variant.format),
    Column[Variant](title="Size", of=lambda variant: figures.size(variant.size_bytes), is_number=True),
    Column[Variant](title="Accuracy", of=lambda variant: figures.percent(variant.accuracy), is_number=True),
    Column[Variant](title="Agreement", of=lambda variant: figures.percent(variant.agreement), is_number=True),
    Column[Variant](title="Median", of=lambda variant: f"{variant.latency_p50_ms:.3f} ms", is_number=True),
)


@app.command("list")
def list_variants(version: VersionName, as_json: Json = False) -> None:
    """List the variants of a version, with the figures measured in the cloud."""
    with connect() as client:
        page = client.models.list_variants(*parse_version(version))
    show_page(page, _COLUMNS, empty="No variants yet: make some with `shoal compressions create`.", as_json=as_json)


@app.command()
def show(variant: VariantId, as_json: Json = False) -> None:
    """Show a variant: its recipe, what made it, and all that was measured."""
    with connect() as client:
        found = client.models.show_variant(variant)
    show_item(found, _facts(found), as_json=as_json)


@app.command()
def delete(variant: VariantId, as_json: Json = False) -> None:
    """Delete a variant; refused while anything depends on it."""
    with connect() as client:
        client.models.delete_variant(variant)
    show_done(f"Deleted the variant {variant}.", {"variant": variant, "deleted": True}, as_json=as_json)


def _facts(variant: Variant) -> dict[str, Any]:
    return {
        "Variant": variant.id,
        "Version": f"{variant.model}/{variant.version}",
        "Recipe": variant.recipe,
        "Steps": variant.recipe_steps,
        "Runtime": variant.runtime,
        "Format": variant.format,
        "Size": figures.size(variant.size_bytes),
        "Accuracy": figures.percent(variant.accuracy),
        "Agreement": figures.percent(variant.agreement),
        "Median": f"{variant.latency_p50_ms:.3f} ms",
        "Samples": variant.samples,
        "Figures": variant.figures,
        "Lineage": variant.lineage,
        "File": variant.sha256,
        "Golden set": variant.golden_sha256,
        "Created": variant.created_at,
    }

"""Describes the networks of a config, or lists all fields of a config with meaning and range.

  python -m biggan_jax.describe --config=imagenet128
  python -m biggan_jax.describe --config=imagenet128 --config.model.channels=64
  python -m biggan_jax.describe --config=imagenet512 --json
  python -m biggan_jax.describe --fields
  python -m biggan_jax.describe --fields --config=imagenet128_deep

The description of a network lists modules with output shapes (height×width×channels), parameters and GFLOP:
10⁹ multiplications and additions of convolutions and matrix products in one forward pass of one image. They
are counted as this package computes them, with resampling merged into convolutions, which takes fewer than
the plain form of the network. Spectral norm, which is computed once a step, is not counted. No weights are
made, so the command takes seconds at any size.

With --fields the command lists each field with default, allowed values and meaning, and, with --config, the
value that the config gives it.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags
from ml_collections import ConfigDict

from biggan_jax.runtime import cli
from biggan_jax.runtime.errors import UserError

if TYPE_CHECKING:
    import rich.table

    from biggan_jax.models.description import NetworkDescription

CONFIG = cli.define_config(required=False)
FIELDS = flags.DEFINE_bool(
    "fields", False, "List all fields of a config with default, allowed values and meaning"
)
JSON = flags.DEFINE_bool("json", False, "Print JSON instead of tables")


def main(argv: Sequence[str]) -> None:
    """Prints the description of the networks, or the list of fields."""
    del argv
    if FIELDS.value:
        _show_fields(CONFIG.value)
        return
    if CONFIG.value is None:
        raise UserError("give --config=NAME for the networks of a config, or --fields for the list of fields")
    _show_networks(CONFIG.value)


def _show_networks(config: ConfigDict) -> None:
    from biggan_jax.config import validate

    validate(config)
    from biggan_jax.models.description import describe  # here: a mistake in the config need not wait for JAX

    networks = describe(config.model)
    if JSON.value:
        print(json.dumps(networks))
        return
    import rich.console

    console = rich.console.Console()
    for name, network in networks.items():
        console.print(network_table(name, network))
    total = sum(network["parameters"] for network in networks.values())
    console.print(f"both networks: {total:,} parameters")


def network_table(title: str, network: "NetworkDescription") -> "rich.table.Table":
    """Returns the description of one network as a table."""
    import rich.box
    import rich.table

    table = rich.table.Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD, show_footer=True)
    table.add_column("module", "total")
    table.add_column("output", justify="right")
    table.add_column("parameters", f"{network['parameters']:,}", justify="right")
    table.add_column("GFLOP/image", f"{network['gflops_per_image']:.3f}", justify="right")
    for module in network["modules"]:
        table.add_row(
            module["name"],
            "×".join(map(str, module["output_shape"])) or "scalar",
            f"{module['parameters']:,}",
            f"{module['gflops_per_image']:.3f}",
        )
    return table


def _show_fields(config: ConfigDict | None) -> None:
    from biggan_jax.config.listing import rows

    if JSON.value:
        print(json.dumps([row._asdict() | _value(config, row.field) for row in rows()]))
    else:
        import rich.console

        rich.console.Console().print(fields_table(config))


def fields_table(config: ConfigDict | None) -> "rich.table.Table":
    """Returns all fields as a table, with the values of `config` where one is given."""
    import rich.box
    import rich.table
    import rich.text

    from biggan_jax.config.listing import rows

    table = rich.table.Table(box=rich.box.SIMPLE_HEAD)
    titles = ("field", "default", *(["value"] if config else []), "allowed values", "meaning")
    for title in titles:
        table.add_column(title, no_wrap=title == "field", overflow="fold")
    section = ""
    for row in rows():
        if row.section != section:
            table.add_section()
            section = row.section
        values = [repr(value) for value in _value(config, row.field).values()]
        cells = (row.field, repr(row.default), *values, row.allowed, row.meaning)
        table.add_row(*map(rich.text.Text, cells))  # as text, for rich would read brackets as markup
    return table


def _value(config: ConfigDict | None, field: str) -> dict[str, object]:
    if config is None:
        return {}
    value: object = config
    for key in field.split("."):
        value = value[key] if isinstance(value, ConfigDict) and key in value else None
    return {"value": value}


if __name__ == "__main__":
    cli.run(main)

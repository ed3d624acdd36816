"""The test whether a checkpoint fits the present config and code."""

from collections.abc import Mapping
from typing import Any

from etils import epath

from biggan_jax.config import differences
from biggan_jax.runtime.errors import UserError

# Fields of config.model that do not change the shapes of the parameters.
_NO_PARAMETERS = {"model.dtype", "model.remat", "model.epsilon", "model.latent_distribution"}


def refuse_another_architecture(
    checkpoint: epath.Path,
    configs: tuple[Mapping[str, Any], Mapping[str, Any]],
    layouts: tuple[Mapping[str, str], Mapping[str, str]],
) -> None:
    """Refuses a checkpoint of another architecture or optimiser.

    Args:
      checkpoint: Directory of the checkpoint.
      configs: Fields of the saved config and of the present one.
      layouts: Type and shape of each array by its name, in the checkpoint and in the present state.

    Raises:
      UserError: They differ; the message lists the fields, or the arrays where all fields are the same.
    """
    fields = {
        field: values
        for field, values in differences(*configs).items()
        if field.startswith("model.") and field not in _NO_PARAMETERS
    }
    remedy = "set these fields back"
    if not fields:  # an older version of the code may differ where the config does not
        saved, now = layouts
        fields = differences(saved, now)
        fields |= {name: "gone" for name in saved.keys() - now.keys()}
        fields |= {name: "new" for name in now.keys() - saved.keys()}
        remedy = "resume with the version of the code that wrote it"
    if fields:
        listed = [f"  {field}: {values}" for field, values in sorted(fields.items())]
        if len(listed) > 12:
            listed[12:] = [f"  … and {len(listed) - 12} more"]
        raise UserError(
            f"the checkpoint {checkpoint} is of another architecture or optimiser (saved → now):\n"
            + "\n".join(listed)
            + f"\nchoose another --workdir, or {remedy}"
        )

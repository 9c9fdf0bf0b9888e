"""Auto classes of models that plain transformers does not have: a function chooses the class by the configuration."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class AutoClass:
    """Makes models as an Auto class of transformers does."""

    class_of: Callable[[Any, bool], Any]
    """class_of(config, trust_remote_code): the class of the model. Raises InputError for models of other kinds."""

    def from_pretrained(self, location: Any, *, config: Any = None, trust_remote_code: bool = False, **how: Any) -> Any:
        """Return the model in a folder or on the hub."""
        from transformers import AutoConfig

        if config is None:
            given = {name: how[name] for name in ("revision", "local_files_only") if name in how}
            config = AutoConfig.from_pretrained(location, **given)
        return self.class_of(config, trust_remote_code).from_pretrained(location, config=config, **how)

    def from_config(self, config: Any, trust_remote_code: bool = False, **how: Any) -> Any:
        """Return the model that a configuration describes, with new weights."""
        return self.class_of(config, trust_remote_code)._from_config(config, **how)

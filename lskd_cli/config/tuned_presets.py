"""The presets that ``lskd tune`` writes: those with the best settings of both forms."""

from collections.abc import Mapping, Sequence

from lskd_cli.config.loading import change_preset
from lskd_cli.config.overrides import Override
from lskd_cli.config.schema import Preset, Published
from lskd_cli.config.search_space import METHOD, Form, FormSpace, Value

Settings = Mapping[str, Value]
TUNED = "-tuned"  # end of their names


def tuned_presets(
    spaces: Sequence[FormSpace], bases: Mapping[str, Preset], best: Mapping[Form, Settings]
) -> list[Preset]:
    """Presets with the best settings.

    Args:
        spaces: search space of each form.
        bases: preset of each method, before the search.
        best: best settings of each form that has some.

    Returns:
        One preset with the settings of both forms if they differ in settings of method and
        standardization only; otherwise a preset for each form. Its name ends with ``-tuned``.
    """
    found = [space for space in spaces if space.form in best]
    methods = {space.method_of(best[space.form]) for space in found}
    changes = {space.form: space.overrides(best[space.form]) for space in found}
    is_own = all(
        override.key.partition(".")[0] in (METHOD, "stand")
        for overrides in changes.values()
        for override in overrides
    )
    if len(methods) == 1 and is_own:
        base = bases[methods.pop()]
        overrides = [*changes.get("plain", ()), *map(_as_stand, changes.get("standardized", ()))]
        return [_tuned(base, overrides)]
    presets = []
    for space in found:
        preset = _tuned(bases[space.method_of(best[space.form])], changes[space.form])
        presets.append(preset.with_stand(True) if space.form == "standardized" else preset)
    return presets


def _tuned(base: Preset, overrides: Sequence[Override]) -> Preset:
    update = {"name": base.name_with(TUNED), "published": Published()}
    preset = change_preset(base.model_copy(update=update), overrides)
    return preset.with_stand(False) if preset.stand else preset


def _as_stand(override: Override) -> Override:
    """A hyper-parameter of the method, for the standardized form only."""
    group, _, name = override.key.partition(".")
    key = f"stand.{name}" if group == METHOD else override.key
    return Override(key, override.value, override.option)

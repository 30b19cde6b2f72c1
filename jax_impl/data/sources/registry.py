"""Every way in which pairs are stored, by name, and the one place where a source is opened."""

from __future__ import annotations

from export.edge import plugins
from export.edge.disk.home import expand
from export.edge.errors import UserError
from export.edge.registry import Registry
from jax_impl.config.data import DataConfig
from jax_impl.data.sources.folders import FolderLayout
from jax_impl.data.sources.manifest import MANIFEST_NAMES, ManifestLayout
from jax_impl.data.sources.places import unread_hint
from jax_impl.data.sources.scenes import SceneLayout
from jax_impl.data.sources.side_by_side import SideBySideLayout
from jax_impl.data.sources.sides import describe_place
from jax_impl.data.sources.source import Layout, Source
from jax_impl.data.sources.tfds import TfdsLayout


class AutoLayout:
    """Whichever layout recognises the place; the one that was added last is asked first."""

    def recognises(self, config: DataConfig) -> bool:
        """Never: this one asks the others."""
        return False

    def open(self, config: DataConfig) -> Source:
        """Raises UserError where none recognises the place."""
        if config.folders:
            return SOURCES["folders"].open(config)
        for layout in reversed(list(SOURCES.values())):
            if layout.recognises(config):
                return layout.open(config)
        root = expand(config.path, "data.path")
        raise UserError(
            f"data.path {root} holds no pairs; put pictures of the same stem into A/ and B/ (or sunrise/ and sunset/), "
            f"put side-by-side pictures there, or write {MANIFEST_NAMES[0]} with the columns source,target"
            + (describe_place(root) + unread_hint(root) if root.is_dir() else "")
        )


SOURCES: Registry[Layout] = Registry("data layout")
"""Layouts by the name that data.layout chooses; a plugin adds its own with `SOURCES.add("mine", Mine())`."""
SOURCES.add("auto", AutoLayout())
SOURCES.add("side-by-side", SideBySideLayout())
SOURCES.add("folders", FolderLayout())
SOURCES.add("manifest", ManifestLayout())
SOURCES.add("scenes", SceneLayout())
SOURCES.add("tfds", TfdsLayout())

_OF_FILES = ("side-by-side", "folders", "manifest")
_OF_SETTINGS = ("tfds", "scenes")


def find_layout(config: DataConfig, record: plugins.Record = ()) -> Layout:
    """The layout that the settings name; nothing is opened.

    `record`: which entries a user's modules registered, for messages. Raises UserError for one that is not registered.
    """
    module = plugins.module_of(record, SOURCES.kind, config.layout)
    try:
        return SOURCES.find(config.layout, "data.layout", module)
    except UserError as error:
        hint = "" if module else f", or load the module that adds it with {plugins.FLAG}"
        raise UserError(f"{error}{hint}") from None


def open_source(config: DataConfig) -> Source:
    """Everything at the place that the settings name, found but not decoded.

    Raises UserError where the place is missing, holds no pairs, or does not fit the layout.
    """
    layout = find_layout(config)
    if config.layout in _OF_FILES:
        # Nothing to lay out: such settings have always been accepted.
        layout = next((SOURCES[name] for name in _OF_SETTINGS if SOURCES[name].recognises(config)), layout)
    return layout.open(config)

"""Add the generated pages when MkDocs builds the site; see ``hooks`` in mkdocs.yml."""

from generated_pages import generated_pages, navigation
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the sections of the navigation that mkdocs.yml leaves empty."""
    filled = navigation()
    for section in config.nav or []:
        for title in section.keys() & filled.keys():
            section[title] = filled[title]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to the files of the site."""
    for path, text in generated_pages().items():
        files.append(File.generated(config, path, content=text))
    return files

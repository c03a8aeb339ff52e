"""The package's page at the index: with `REPOSITORY_URL` set, as at a release, every link of the README is absolute."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_RELATIVE = re.compile(r"""(\]\(|\b(?:src|srcset)=")(?!https?:|#)([^)"\s]+)""")
_PICTURES = (".png", ".svg")


def absolute_links(text: str, repository: str, version: str) -> str:
    """Make relative links lead to the version's tag in the repository."""

    def absolute(link: re.Match[str]) -> str:
        view = "raw" if link[2].endswith(_PICTURES) else "blob"
        return f"{link[1]}{repository}/{view}/v{version}/{link[2]}"

    return _RELATIVE.sub(absolute, text)


class IndexPageHook(MetadataHookInterface):
    """Dynamic fields "readme" and "urls"."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the README and the URLs."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        # Airflow links its page of providers to what has exactly the label "Documentation"
        urls = {"Documentation": "https://developers.binance.com/docs/margin_trading/trade"}
        if repository := os.environ.get("REPOSITORY_URL", "").rstrip("/"):
            tree = f"{repository}/blob/v{metadata['version']}"
            urls = {
                "Documentation": f"{tree}/docs/index.md",
                "Changelog": f"{tree}/CHANGELOG.md",
                "Source": repository,
                "Issues": f"{repository}/issues",
            }
            text = absolute_links(text, repository, metadata["version"])
        metadata.update(urls=urls, readme={"content-type": "text/markdown", "text": text})

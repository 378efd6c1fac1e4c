"""The rulebooks of all formats: each has a document under `invalid` for every rule, and docs/reference/rules.md."""

from __future__ import annotations

from imagekit.rulebooks import RULEBOOKS

__all__ = ["RULEBOOKS"]

"""What proves one package of a resolution, to be kept beside it."""

from __future__ import annotations

from imagekit.assertions import Assertion
from imagekit.plan.resolve import Resolution, ResolvedPackage


def evidence(resolution: Resolution, package: ResolvedPackage) -> list[Assertion]:
    """All that leads from a root to the package's revision, each once."""
    assert package.revision is not None
    assert package.declaration is not None
    own = (package.revision.assertion, package.declaration.assertion)
    found = {(item.type, item.primary_key): item for chain in resolution.proofs
             if chain.links[-1].assertion in own for item in chain.assertions}
    return [found[key] for key in sorted(found)]
